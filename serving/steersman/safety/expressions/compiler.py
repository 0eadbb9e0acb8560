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
        reads: Columns of the features that it reads, ascending.
        constant: Its value when it reads no feature, else None.
    """

    def __init__(self, text: str, typed: Typed, reads: Sequence[int]) -> None:
        self.text = text
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
    tree = parse(source)
    typed = _typed(tree, names, source)
    if typed.type is not Type.BOOL:
        hint = "Compare it, as in x > 0.0."
        raise source.error(0, "this is a number", expected="a condition (true or false)", hint=hint)
    return Condition(text, typed, sorted({_column(node, names, source) for node in _features(tree)}))


def _features(node: Node) -> Iterator[Feature]:
    if isinstance(node, Feature):
        yield node
    elif not isinstance(node, Literal):
        for operand in node.operands:
            yield from _features(operand)


def _column(node: Feature, names: Sequence[str], source: Source) -> int:
    return feature_index(node.name, names, source.at(node.offset), ExpressionError)


def _typed(node: Node, names: Sequence[str], source: Source) -> Typed:
    if isinstance(node, Literal):
        return constant(node.value)
    if isinstance(node, Feature):
        return feature(_column(node, names, source))
    operands = [_typed(operand, names, source) for operand in node.operands]
    try:
        return apply(node.operator, operands)
    except OperandError as error:
        raise source.error(node.offset, error.what, expected=error.expected, hint=error.hint) from None
