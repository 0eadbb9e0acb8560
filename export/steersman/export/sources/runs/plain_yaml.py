"""YAML with Python's tags, read as data: nothing that a file names is imported or called, and little grows.

rl-baselines3-zoo writes its files with PyYAML's default dumper and reads them with the unsafe loader. What is
in them is ordered dictionaries, tuples, strings of its own kind, and at times the name of a class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

from steersman.bundle.errors import brief
from steersman.export.errors import DamagedFileError

MOST_BYTES = 256 * 1024
"""The zoo's own files are of a few kB."""
MOST_NODES, MOST_SHARED, MOST_DEPTH = 10_000, 100, 30
"""Values of a file, values that one alias may repeat, and levels of nesting; 100 characters are one value."""
_PYTHON = "tag:yaml.org,2002:python/"


class NotData(str):
    """What a tag names that is no data: the dotted path of a class or function."""

    __slots__ = ()


class _Reader(yaml.SafeLoader):
    """The safe loader with a few tags more, and with limits.

    Nodes are counted as if every alias were written out: a file of 1 kB can stand for billions.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Counts a node, with all that is in it."""
        before, alias = self._nodes, self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise _too_much(f"it is nested more than {MOST_DEPTH} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None:
            self._nodes += self._shared(node) if alias else _own_size(node)
            self._sizes.setdefault(node, self._nodes - before)
        if self._nodes > MOST_NODES:
            raise _too_much(f"it stands for more than {MOST_NODES:,} values")
        return node

    def _shared(self, node: yaml.Node) -> int:
        """What an alias repeats; of a node that is still being read, it would repeat itself."""
        size = self._sizes.get(node, MOST_NODES)
        if size > MOST_SHARED:
            raise _too_much(f"an alias repeats more than {MOST_SHARED} values")
        return size


def _own_size(node: yaml.Node) -> int:
    return 1 + len(node.value) // 100 if isinstance(node, yaml.ScalarNode) else 1


def _too_much(what: str) -> yaml.YAMLError:
    return ComposerError(None, None, what)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping at the top of a file.

    Raises:
        DamagedFileError: It is no YAML, holds no mapping, or is far larger than any that the zoo writes.
    """
    try:
        content = yaml.load(_text_of(path), Loader=_Reader)  # noqa: S506  it is a safe loader
    except Exception as error:  # PyYAML raises a dozen kinds for values that are not what their tags say
        raise DamagedFileError(f"it cannot be read: {brief(error)}", where=str(path)) from error
    if not isinstance(content, dict):
        raise DamagedFileError("it holds no mapping", where=str(path))
    return content


def _text_of(path: Path) -> str:
    with path.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise _too_much(f"it is larger than {MOST_BYTES:,} bytes")
    return content.decode()


def _tagged(loader: _Reader, tag: str, node: yaml.Node) -> Any:
    kind, _, name = tag.partition(":")
    if kind in {"str", "unicode"} and isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if kind in {"tuple", "list", "dict", "int", "long", "float", "bool", "none"}:
        return _plain(loader, node)
    if kind.startswith("object") and name == "collections.OrderedDict":
        return _ordered(loader, node)
    if kind.startswith("object") and name.endswith("EnvironmentName"):
        return _string(loader, node)
    return NotData(name)


def _plain(loader: _Reader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    tag = loader.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
    return loader.construct_object(yaml.ScalarNode(tag, node.value))


def _ordered(loader: _Reader, node: yaml.Node) -> dict[Any, Any]:
    """`OrderedDict` is written as its one argument: a list of pairs, itself in a list."""
    arguments = _arguments(loader, node)
    return dict(arguments[0]) if arguments else {}


def _string(loader: _Reader, node: yaml.Node) -> str:
    """A subclass of str is written as its one argument."""
    arguments = _arguments(loader, node)
    return str(arguments[0]) if arguments else ""


def _arguments(loader: _Reader, node: yaml.Node) -> list[Any]:
    """Of what a tag would have called: a list, alone or under `args` beside a state."""
    content = _plain(loader, node)
    found = content.get("args", []) if isinstance(content, dict) else content
    if not isinstance(found, list):
        raise yaml.constructor.ConstructorError(None, None, "no list of arguments", node.start_mark)
    return found


_Reader.add_multi_constructor(_PYTHON, _tagged)
