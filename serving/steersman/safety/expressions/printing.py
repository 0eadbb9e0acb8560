"""Parts of an expression as text, for reports."""

from __future__ import annotations

from steersman.safety.expressions.parser import FUNCTIONS, PRECEDENCE, RESERVED
from steersman.safety.expressions.syntax import Feature, Literal, Node, Operation

_TIGHTEST = 7
_UNARY = {"negate": "-", "!": "!"}


def text_of(node: Node) -> str:
    """The text of a part, with the parentheses that it needs and no others.

    Example:
        >>> from steersman.safety.expressions.parser import parse
        >>> from steersman.safety.expressions.source import Source
        >>> text_of(parse(Source("((a))>1.0&&!(b  > 2.0||true)", "")))
        'a > 1.0 && !(b > 2.0 || true)'
    """
    if isinstance(node, Literal):
        return str(node.value).lower() if isinstance(node.value, bool) else repr(node.value)
    if isinstance(node, Feature):
        plain = node.name.isascii() and node.name.isidentifier() and node.name not in RESERVED
        return node.name if plain else f"obs[{_quoted(node.name)}]"
    if node.operator in FUNCTIONS:
        return f"{node.operator}({', '.join(map(text_of, node.operands))})"
    return _operation(node)


def _operation(node: Operation) -> str:
    first, *others = node.operands
    if node.operator in _UNARY:
        return f"{_UNARY[node.operator]}{_within(first, _TIGHTEST)}"
    if node.operator == "?:":
        yes, no = others
        return f"{_within(first, 1)} ? {_within(yes, 1)} : {text_of(no)}"
    level = PRECEDENCE[node.operator]
    if node.operator == "in":
        return f"{_within(first, level)} in [{', '.join(map(text_of, others))}]"
    return f"{_within(first, level)} {node.operator} {_within(others[0], level + 1)}"


def _within(node: Node, least: int) -> str:
    text = text_of(node)
    return text if _level(node) >= least else f"({text})"


def _level(node: Node) -> int:
    if isinstance(node, Operation) and node.operator not in FUNCTIONS:
        return 0 if node.operator == "?:" else PRECEDENCE.get(node.operator, _TIGHTEST - 1)
    return _TIGHTEST


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
