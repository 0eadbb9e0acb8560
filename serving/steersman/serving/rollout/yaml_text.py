"""YAML as deployments use it: plain data, without what makes a small text large or hides a mistake."""

from __future__ import annotations

from collections import Counter
from typing import Any

import yaml

UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What PyYAML raises beside its own errors: for `2024-13-45`, `!!int x`, `!!timestamp x`, deep nesting."""


class PlainLoader(yaml.SafeLoader):
    """Reads plain data. Anchors are refused, for a few lines of them can mean gigabytes, and doubled keys."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node, unless it refers to another one."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not understood here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """A mapping, unless a key occurs twice."""
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if doubled := sorted(key for key, times in keys.items() if times > 1):
            raise yaml.YAMLError(f"the key {doubled[0]!r} is there twice")
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
        raise yaml.YAMLError("a value is not of the kind that it looks like") from None
