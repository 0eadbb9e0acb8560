"""Which conditions can be true together, as far as that can be said without trying every observation.

A condition is taken apart at its `&&`; comparisons of a feature with a number narrow the feature's interval,
and what is left over is judged by interval arithmetic. Where neither says no, the answer is yes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from steersman.safety.columns import feature_index
from steersman.safety.expressions import Condition
from steersman.safety.expressions.parser import parse
from steersman.safety.expressions.source import Source
from steersman.safety.expressions.syntax import Feature, Literal, Node, Operation

Span = tuple[float, float]
"""Lowest and highest value, both included."""

FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}


def can_all_hold(conditions: Sequence[Condition], names: Sequence[str], spans: Sequence[Span]) -> bool:
    """Whether no contradiction is found between conditions.

    Args:
        conditions: Compiled over these features.
        names: Name of each feature.
        spans: What each may be.
    """
    narrowed = list(spans)
    parts = [part for each in conditions for part in _parts(parse(Source(each.text, "when")))]
    for part in parts:
        if not _narrow(part, names, narrowed):
            return False
    return all(_may(part, names, narrowed)[0] for part in parts)


def is_exact(conditions: Sequence[Condition]) -> bool:
    """Whether `can_all_hold` knows for sure: each condition is comparisons of a feature with a number."""
    nodes = [part for each in conditions for part in _parts(parse(Source(each.text, "when")))]
    return all(
        isinstance(node, Operation)
        and node.operator in FLIPPED
        and any(isinstance(left, Feature) and _number(right) is not None for left, right in _both(node))
        for node in nodes
    )


def _both(node: Operation) -> tuple[tuple[Node, Node], tuple[Node, Node]]:
    left, right = node.operands
    return (left, right), (right, left)


def _parts(node: Node) -> list[Node]:
    if isinstance(node, Operation) and node.operator == "&&":
        return [part for operand in node.operands for part in _parts(operand)]
    return [node]


def _narrow(node: Node, names: Sequence[str], spans: list[Span]) -> bool:
    """Takes from the spans what a comparison excludes; False when nothing is left."""
    if not isinstance(node, Operation) or node.operator not in FLIPPED:
        return True
    left, right, operator = *node.operands, node.operator
    if isinstance(right, Feature):
        left, right, operator = right, left, FLIPPED[operator]
    value = _number(right)
    if not isinstance(left, Feature) or value is None:
        return True
    column = feature_index(left.name, names, "when")
    low, high = spans[column]
    if operator in {">", ">=", "=="}:
        low = max(low, value)
    if operator in {"<", "<=", "=="}:
        high = min(high, value)
    spans[column] = (low, high)
    strict = operator in {"<", ">"} and low == high == value
    return low <= high and not strict


def _number(node: Node) -> float | None:
    """The value of a number, with a sign or without."""
    if isinstance(node, Literal) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, Operation) and node.operator == "negate":
        value = _number(node.operands[0])
        return None if value is None else -value
    return None


def _may(node: Node, names: Sequence[str], spans: Sequence[Span]) -> tuple[bool, bool]:
    """Whether a condition may be true, and whether it may be false."""
    if isinstance(node, Literal):
        return bool(node.value), not node.value
    if not isinstance(node, Operation):
        return True, True
    if node.operator == "!":
        true, false = _may(node.operands[0], names, spans)
        return false, true
    if node.operator in {"&&", "||"}:
        (a, not_a), (b, not_b) = (_may(each, names, spans) for each in node.operands)
        return (a and b, not_a or not_b) if node.operator == "&&" else (a or b, not_a and not_b)
    if node.operator in FLIPPED and node.operator != "==":
        left, right = (_span(each, names, spans) for each in node.operands)
        return _compared(node.operator, left, right)
    return True, True


def _compared(operator: str, left: Span, right: Span) -> tuple[bool, bool]:
    if operator in {">", ">="}:
        return _compared(FLIPPED[operator], right, left)
    if operator == "<":
        return left[0] < right[1], left[1] >= right[0]
    return left[0] <= right[1], left[1] > right[0]


def _span(node: Node, names: Sequence[str], spans: Sequence[Span]) -> Span:
    """What a number may be; anything where that is not worked out."""
    if isinstance(node, Literal):
        return float(node.value), float(node.value)
    if isinstance(node, Feature):
        return spans[feature_index(node.name, names, "when")]
    operands = [_span(each, names, spans) for each in node.operands]
    if node.operator == "negate":
        return -operands[0][1], -operands[0][0]
    if node.operator == "abs":
        low, high = operands[0]
        return max(low, -high, 0.0), max(abs(low), abs(high))
    if node.operator in {"+", "-"} and len(operands) == 2:
        (a, b), (c, d) = operands
        found = (a + c, b + d) if node.operator == "+" else (a - d, b - c)
        return _outward(found) if found[0] == found[0] and found[1] == found[1] else (-inf, inf)
    return -inf, inf


def _outward(span: Span) -> Span:
    """A hair wider, for what rounding may do."""
    return span[0] - 1e-12 * abs(span[0]), span[1] + 1e-12 * abs(span[1])
