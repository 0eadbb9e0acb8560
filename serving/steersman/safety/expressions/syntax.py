"""The syntax tree of an expression."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant; its Python type is its CEL type."""

    value: bool | int | float
    offset: int
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature, by name."""

    name: str
    offset: int
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator or function with its operands.

    Attributes:
        operator: As it is written; "?:" for the conditional, "negate" for unary minus.
        operands: One to three for operators, any number for functions; for `in` the value and each item.
        offset: Where the operator stands in the text.
        depth: Levels of operations below this one, itself counted.
    """

    operator: str
    operands: tuple[Node, ...]
    offset: int
    depth: int


Node = Literal | Feature | Operation
