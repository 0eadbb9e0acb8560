"""The parts of a condition: the conditions that it is made of, and the numbers that it compares with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from steersman.safety.columns import feature_index
from steersman.safety.expressions.compiler import Condition, compile_tree, typed_tree
from steersman.safety.expressions.operators import Constant, Type
from steersman.safety.expressions.printing import text_of
from steersman.safety.expressions.source import Source
from steersman.safety.expressions.syntax import Feature, Literal, Node, Operation

_BRANCHING = frozenset({"&&", "||", "!", "?:"})
_COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!=", "in"})


def branches(condition: Condition, names: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions that it is made of, without itself, in the order in which they are written.

    Operands of `&&`, `||`, `!` and `?:`, and theirs. Their `text` is printed from the tree.
    """
    return tuple(
        compile_tree(node, names, Source(text_of(node), ""))
        for node in _branches(condition.tree)
        if _is_condition(node, names)
    )


def _branches(node: Node) -> Iterator[Node]:
    if isinstance(node, Operation) and node.operator in _BRANCHING:
        for operand in node.operands:
            if not (isinstance(operand, Operation) and operand.operator == node.operator):
                yield operand  # `a && b && c` has three parts, not the four that its tree has
            yield from _branches(operand)


def _is_condition(node: Node, names: Sequence[str]) -> bool:
    return typed_tree(node, names, Source("", "")).type is Type.BOOL


def thresholds(condition: Condition, names: Sequence[str]) -> Mapping[int, frozenset[float]] | None:
    """The numbers that each feature is compared with, by column, where that is all that it does.

    None where it also does arithmetic with features or compares them with each other: then nothing is said
    of where it changes. Between two neighbouring thresholds of each feature such a condition is constant.
    """
    found: dict[int, set[float]] = {}
    for name, number in _compared(condition.tree):
        if name is None:
            return None
        found.setdefault(feature_index(name, names, ""), set()).add(float(number))
    return {column: frozenset(numbers) for column, numbers in found.items()}


def _compared(node: Node) -> Iterator[tuple[str | None, Constant]]:
    """Each feature with each constant that it is compared with; no name for what is more than that."""
    if isinstance(node, Literal):
        return
    if isinstance(node, Feature):
        yield None, 0.0
    elif node.operator in _COMPARISONS:
        yield from _sides(node)
    elif node.operator in _BRANCHING:
        for operand in node.operands:
            yield from _compared(operand)
    else:
        yield None, 0.0


def _sides(node: Operation) -> Iterator[tuple[str | None, Constant]]:
    values = [_constant(operand) for operand in node.operands]
    features = [operand.name for operand in node.operands if isinstance(operand, Feature)]
    if len(features) == 1 and sum(value is None for value in values) == 1:
        yield from ((features[0], value) for value in values if value is not None)
    elif any(value is None for value in values):
        yield None, 0.0


def _constant(node: Node) -> Constant | None:
    """Its value where it reads no feature."""
    if isinstance(node, Feature) or (isinstance(node, Operation) and not _is_closed(node)):
        return None
    return typed_tree(node, (), Source("", "")).constant


def _is_closed(node: Node) -> bool:
    if isinstance(node, Operation):
        return all(map(_is_closed, node.operands))
    return isinstance(node, Literal)
