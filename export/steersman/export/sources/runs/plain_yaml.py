"""YAML with Python's tags, read as data: nothing that a file names is imported or called.

rl-baselines3-zoo writes its files with PyYAML's default dumper and reads them with the unsafe loader. What is
in them is ordered dictionaries, tuples, strings of its own kind, and at times the name of a class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from steersman.export.errors import DamagedFileError

_PYTHON = "tag:yaml.org,2002:python/"


class NotData(str):
    """What a tag names that is no data: the dotted path of a class or function."""

    __slots__ = ()


class _Reader(yaml.SafeLoader):
    """The safe loader, and a few tags more."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping at the top of a file.

    Raises:
        DamagedFileError: It is no YAML, or holds no mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Reader)  # noqa: S506  it is a safe loader
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise DamagedFileError(f"it cannot be read: {_brief(error)}", where=str(path)) from error
    if not isinstance(content, dict):
        raise DamagedFileError("it holds no mapping", where=str(path))
    return content


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _tagged(loader: _Reader, tag: str, node: yaml.Node) -> Any:
    kind, _, name = tag.partition(":")
    if kind in {"str", "unicode"} and isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if kind in {"tuple", "list", "dict", "int", "long", "float", "bool", "none"}:
        return _plain(loader, node)
    if kind.startswith("object") and name == "collections.OrderedDict":
        return _ordered(loader, node)
    if kind.startswith("object") and name.endswith("EnvironmentName"):
        return _text(loader, node)
    return NotData(name)


def _plain(loader: _Reader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return yaml.safe_load(node.value)


def _ordered(loader: _Reader, node: yaml.Node) -> dict[Any, Any]:
    """`OrderedDict` is written as its one argument: a list of pairs, itself in a list."""
    arguments = _arguments(loader, node)
    return dict(arguments[0]) if arguments else {}


def _text(loader: _Reader, node: yaml.Node) -> str:
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
