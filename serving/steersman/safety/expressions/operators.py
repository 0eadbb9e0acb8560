"""What operators and functions do: their types, their value on constants, their numpy form on columns."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import Any

import numpy as np

from steersman.safety.columns import Features

Column = Callable[[Features], Any]
"""Features [N, F] -> [N], or one value for all rows."""

Constant = bool | int | float
"""A value known at load; its Python type is its CEL type."""

EXACT_DOUBLE = 2**53
"""Integers up to this size are doubles, exactly."""


class Type(StrEnum):
    """Types of CEL that are supported."""

    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"


@dataclass(frozen=True, slots=True)
class Typed:
    """A compiled part of an expression.

    Attributes:
        type: Its type.
        run: Its values; an INT is computed as float64, within `EXACT_DOUBLE`.
        constant: Its value when it reads no feature, else None.
    """

    type: Type
    run: Column
    constant: Constant | None = None


class OperandError(Exception):
    """An operator does not take what it is given."""

    def __init__(self, what: str, expected: str | None = None, hint: str | None = None) -> None:
        self.what, self.expected, self.hint = what, expected, hint
        super().__init__(what)


def constant(value: Constant) -> Typed:
    """A constant; its Python type decides its type."""
    types = {bool: Type.BOOL, int: Type.INT, float: Type.DOUBLE}
    return Typed(types[type(value)], lambda _: value, value)


def feature(column: int) -> Typed:
    """A feature."""
    return Typed(Type.DOUBLE, lambda features: features[:, column])


def apply(name: str, operands: Sequence[Typed]) -> Typed:
    """An operator or function on its operands.

    Args:
        name: As in `syntax.Operation`.
        operands: As many as it takes.

    Raises:
        OperandError: The types do not fit, or integer arithmetic fails.
    """
    if name == "?:":
        return _conditional(*operands)
    if name in _LOGIC:
        _require(name, operands, numbers=False)
        return _computed(Type.BOOL, _LOGIC[name], operands)
    if name == "in":
        _require(name, operands, numbers=operands[0].type is not Type.BOOL)
        return _computed(Type.BOOL, _among, _alike(operands))
    if name in _EQUALITY:
        _require(name, operands, numbers=operands[0].type is not Type.BOOL)
        return _computed(Type.BOOL, _EQUALITY[name], _alike(operands))
    _require(name, operands, numbers=True)
    if name in _ORDER:
        return _computed(Type.BOOL, _ORDER[name], _alike(operands))
    return _arithmetic(name, operands)


def _conditional(condition: Typed, yes: Typed, no: Typed) -> Typed:
    _require("?:", [condition], numbers=False)
    if (yes.type is Type.BOOL) != (no.type is Type.BOOL):
        raise OperandError(
            f"the branches of ?: are {yes.type} and {no.type}", "two conditions or two numbers"
        )
    branches = _alike([yes, no])
    return _computed(branches[0].type, np.where, [condition, *branches])


def _arithmetic(name: str, operands: Sequence[Typed]) -> Typed:
    if any(operand.type is Type.DOUBLE for operand in operands):
        return _computed(Type.DOUBLE, _DOUBLE[name], _alike(operands))
    if all(operand.constant is not None for operand in operands):
        return constant(_exact(name, operands))
    if name in _INEXACT:
        what = f"{name} between integers that a condition chooses is not supported"
        raise OperandError(what, hint="Write them as doubles, such as 2.0.")
    return _computed(Type.INT, _DOUBLE[name], operands)


def _exact(name: str, operands: Sequence[Typed]) -> int:
    values = [int(operand.constant or 0) for operand in operands]
    try:
        result: int = _INT[name](*values)
    except ZeroDivisionError:
        raise OperandError(
            "division of an integer by zero", hint="Doubles, such as 2.0, have infinities."
        ) from None
    if not -(2**63) <= result < 2**63:
        raise OperandError("the integer overflows 64 bits", hint="Write doubles, such as 2.0.")
    return result


def _require(name: str, operands: Sequence[Typed], *, numbers: bool) -> None:
    """Refuse operands that are not all numbers, or not all conditions."""
    for operand in operands:
        if (operand.type is not Type.BOOL) != numbers:
            types = " and ".join(operand.type for operand in operands)
            what = f"{_SPOKEN.get(name, name)} cannot be applied to {types}"
            raise OperandError(what, "numbers" if numbers else "conditions (true or false)")


def _alike(operands: Sequence[Typed]) -> Sequence[Typed]:
    """The operands, integers made doubles if any is one."""
    if not any(operand.type is Type.DOUBLE for operand in operands):
        return operands
    return [_as_double(operand) if operand.type is Type.INT else operand for operand in operands]


def _as_double(operand: Typed) -> Typed:
    if operand.constant is None:
        return Typed(Type.DOUBLE, operand.run)
    return constant(_checked_double(operand.constant))


def _checked_double(value: float) -> float:
    if abs(value) > EXACT_DOUBLE:
        raise OperandError(
            f"the integer {value} is not exact as a double", "at most 2^53", "Write it as a double."
        )
    return float(value)


def _computed(type_: Type, function: Callable[..., Any], operands: Sequence[Typed]) -> Typed:
    """The operands' columns under a numpy function; constants are computed now."""
    constants = [operand.constant for operand in operands]
    if all(value is not None for value in constants):
        with np.errstate(all="ignore"):
            return constant(np.asarray(function(*constants)).item())
    runs = [_column(operand) for operand in operands]
    if len(runs) == 2:
        left, right = runs
        return Typed(type_, lambda features: function(left(features), right(features)))
    return Typed(type_, lambda features: function(*(run(features) for run in runs)))


def _column(operand: Typed) -> Column:
    """The operand's column; an integer must be exact as a double there."""
    return _as_double(operand).run if operand.type is Type.INT else operand.run


def _truncated(dividend: int, divisor: int) -> int:
    """CEL's integer division rounds towards zero, Python's down."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def _remainder(dividend: int, divisor: int) -> int:
    return dividend - divisor * _truncated(dividend, divisor)


def _among(value: Any, *items: Any) -> Any:
    found = np.zeros(np.shape(value), np.bool_)
    return reduce(np.logical_or, (np.equal(value, item) for item in items), found)


def _least(*values: Any) -> Any:
    return reduce(np.minimum, values)


def _greatest(*values: Any) -> Any:
    return reduce(np.maximum, values)


_LOGIC = {"&&": np.logical_and, "||": np.logical_or, "!": np.logical_not}
_EQUALITY = {"==": np.equal, "!=": np.not_equal}
_ORDER = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
_DOUBLE: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "negate": np.negative,
    "abs": np.abs,
    "min": _least,
    "max": _greatest,
}
_INT: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _truncated,
    "%": _remainder,
    "negate": operator.neg,
    "abs": abs,
    "min": min,
    "max": max,
}
_INEXACT = frozenset("+-*/%")
_SPOKEN = {"negate": "unary -", "abs": "abs()", "min": "min()", "max": "max()"}
