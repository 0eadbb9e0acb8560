"""YAML as deployments use it: plain data, without what makes a small text large or hides a mistake."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What PyYAML raises beside its own errors: for `2024-13-45`, `!!int x`, `!!timestamp x`, deep nesting."""
ODD_VALUE = "a value is not of the kind that it looks like"
ODD_BREAKS = frozenset("\x85\u2028\u2029")
"""Ends of lines to YAML, which PyYAML writes as they are and reads as something else."""


class PlainLoader(yaml.SafeLoader):
    """Reads plain data. Anchors are refused, for a few lines of them can mean gigabytes, and doubled keys."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node, unless it refers to another one."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _wrong("anchors and aliases are not understood here", mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        """A value, unless it is none of its kind."""
        try:
            return super().construct_object(node, deep)
        except RecursionError:
            raise
        except UNREADABLE:
            raise _wrong(ODD_VALUE, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """A mapping, unless a key occurs twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise _wrong(f"the key {key.value!r} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """The data in a text.

    Raises:
        yaml.YAMLError: It is not YAML, or uses what is refused.
    """
    try:
        return yaml.load(text, PlainLoader)  # noqa: S506  it is a safe loader
    except RecursionError:
        raise yaml.YAMLError("nested too deep") from None
    except UNREADABLE:
        raise yaml.YAMLError(ODD_VALUE) from None


def write_yaml(data: Any) -> str:
    """Plain data as YAML that `read_yaml` reads as the same data: in its order, one line for each text."""
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=10**9)
    if ODD_BREAKS.isdisjoint(text):
        return text
    escaped: str = yaml.safe_dump(data, sort_keys=False, width=10**9)
    return escaped


def yaml_mistake(error: yaml.YAMLError) -> str:
    """What is wrong with a text, on one line that begins with where: "line 3, column 5: ..."."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "context", None)
    text = " ".join(str(said or error).split())
    return text if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {text}"


def _wrong(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
