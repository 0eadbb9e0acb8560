"""The compiler: a condition's text becomes a function of the feature matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from steersman.safety.columns import Features, Rows, all_columns, feature_index
from steersman.safety.errors import ExpressionError
from steersman.safety.expressions.operators import OperandError, Type, Typed, apply, constant, feature
from steersman.safety.expressions.parser import parse
from steersman.safety.expressions.source import Source
from steersman.safety.expressions.syntax import Feature, Literal, Node


class Condition:
    """A compiled condition, true or false on each row. Use `compile_condition`.

    Attributes:
        text: What was compiled.
        tree: Its syntax tree.
        reads: Columns of the features that it reads, ascending.
        constant: Its value when it reads no feature, else None.
    """

    def __init__(self, text: str, tree: Node, typed: Typed, reads: Sequence[int]) -> None:
        self.text = text
        self.tree = tree
        self.reads = tuple(reads)
        self.constant = None if typed.constant is None else bool(typed.constant)
        self._run = typed.run

    def __call__(self, features: Features) -> Rows:
        """Whether it holds on each row of features [N, F]: [N] bool."""
        if self.constant is not None:
            return np.full(len(features), self.constant)
        with np.errstate(all="ignore"):  # IEEE 754: overflow is infinite, invalid is NaN
            holds: Rows = self._run(features)
        return holds

    def evaluable(self, finite: NDArray[np.bool_]) -> Rows:
        """Rows on which every feature that it reads is finite.

        Args:
            finite: [N, F] bool, `np.isfinite` of the features.
        """
        return all_columns(finite[:, self.reads])


def compile_condition(text: str, names: Sequence[str], *, where: str) -> Condition:
    """The condition that a text states.

    Args:
        text: In the subset of CEL that the package documents.
        names: Name of each feature, in column order.
        where: The setting that holds the text, for errors.

    Raises:
        ExpressionError: It cannot be read, names an unknown feature, mixes types, or is a number.
    """
    source = Source(text, where)
    return compile_tree(parse(source), names, source)


def compile_tree(tree: Node, names: Sequence[str], source: Source) -> Condition:
    """The condition that a syntax tree states, such as a part of another condition's.

    Raises:
        ExpressionError: It names an unknown feature, mixes types, or is a number.
    """
    typed = typed_tree(tree, names, source)
    if typed.type is not Type.BOOL:
        hint = "Compare it, as in x > 0.0."
        raise source.error(0, "this is a number", expected="a condition (true or false)", hint=hint)
    return Condition(
        source.text, tree, typed, sorted({_column(node, names, source) for node in _features(tree)})
    )


def _features(node: Node) -> Iterator[Feature]:
    if isinstance(node, Feature):
        yield node
    elif not isinstance(node, Literal):
        for operand in node.operands:
            yield from _features(operand)


def _column(node: Feature, names: Sequence[str], source: Source) -> int:
    return feature_index(node.name, names, source.at(node.offset), ExpressionError)


def typed_tree(node: Node, names: Sequence[str], source: Source) -> Typed:
    """A part of an expression, compiled.

    Raises:
        ExpressionError: It names an unknown feature, or mixes types.
    """
    if isinstance(node, Literal):
        return constant(node.value)
    if isinstance(node, Feature):
        return feature(_column(node, names, source))
    operands = [typed_tree(operand, names, source) for operand in node.operands]
    try:
        return apply(node.operator, operands)
    except OperandError as error:
        raise source.error(node.offset, error.what, expected=error.expected, hint=error.hint) from None
