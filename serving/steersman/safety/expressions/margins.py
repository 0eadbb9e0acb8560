"""How far a condition is from being something else: the quantitative meaning of a condition.

A comparison's margin is the distance between its sides, positive where it holds; `&&` takes the smaller,
`||` the larger, `!` the negative. The sign says whether the condition holds (at zero: either), and it stays
while the difference of no two compared numbers changes by as much as the margin. It is the robustness of
A. Donzé and O. Maler, Robust Satisfaction of Temporal Logic over Real-Valued Signals (2010), without the
temporal part.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from steersman.safety.columns import Features
from steersman.safety.expressions.compiler import Condition, typed_tree
from steersman.safety.expressions.operators import Type
from steersman.safety.expressions.source import Source
from steersman.safety.expressions.syntax import Node, Operation

Numbers = NDArray[np.float64]


def margin(condition: Condition, names: Sequence[str], features: Features) -> Numbers:
    """The margin of a condition on each row of features [N, F]: [N], infinite where nothing can change it.

    Args:
        condition: The condition.
        names: Name of each feature, as it was compiled with.
        features: The rows. NaN and infinities have no margin to speak of.
    """
    measure = _Measure(names, features)
    with np.errstate(all="ignore"):
        found: Numbers = np.broadcast_to(measure.of(condition.tree), len(features)).astype(np.float64)
    return found


class _Measure:
    """Margins of the parts of a condition on some rows."""

    def __init__(self, names: Sequence[str], features: Features) -> None:
        self._names = names
        self._features = features

    def of(self, node: Node) -> Numbers:
        """The margin of a condition, [N] or one for all rows."""
        if not isinstance(node, Operation):
            return np.where(self._value(node), np.inf, -np.inf)
        if node.operator in {"&&", "||", "!", "?:"}:
            return self._logic(node.operator, [self.of(operand) for operand in node.operands])
        if node.operator in {"==", "!="} and self._is_condition(node.operands[0]):
            one, other = (self.of(operand) for operand in node.operands)
            same = np.maximum(np.minimum(one, other), np.minimum(-one, -other))
            return same if node.operator == "==" else -same
        return self._comparison(node)

    def _logic(self, operator: str, parts: Sequence[Numbers]) -> Numbers:
        if operator == "!":
            return -parts[0]
        if operator == "?:":
            condition, yes, no = parts
            return np.maximum(np.minimum(condition, yes), np.minimum(-condition, no))
        return np.minimum(*parts) if operator == "&&" else np.maximum(*parts)

    def _comparison(self, node: Operation) -> Numbers:
        left, *others = (self._value(operand) for operand in node.operands)
        if node.operator == "in":
            if self._is_condition(node.operands[0]):
                return np.where(self._value(node), np.inf, -np.inf)
            nearest = [-np.abs(left - item) for item in others]
            return reduce(np.maximum, nearest, np.asarray(-np.inf))
        apart = left - others[0]
        if node.operator in {"==", "!="}:
            return -np.abs(apart) if node.operator == "==" else np.abs(apart)
        return apart if node.operator in {">", ">="} else -apart

    def _value(self, node: Node) -> Numbers:
        value = typed_tree(node, self._names, Source("", "")).run(self._features)
        return np.asarray(value)

    def _is_condition(self, node: Node) -> bool:
        return typed_tree(node, self._names, Source("", "")).type is Type.BOOL
