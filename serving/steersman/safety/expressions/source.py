"""The text of an expression, and errors that point into it."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.safety.errors import ExpressionError

MAX_LENGTH = 2000
"""Characters in an expression, at most."""

MAX_DEPTH = 64
"""Operators within operators, at most: bounds the recursion of parser and compiled expression."""


@dataclass(frozen=True, slots=True)
class Source:
    """An expression's text.

    Attributes:
        text: The expression.
        where: The setting that holds it.
    """

    text: str
    where: str

    def at(self, offset: int) -> str:
        """Where a character is: the setting, and line and column counted from 1."""
        before = self.text[:offset]
        line, column = before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
        return f"{self.where}, line {line}, column {column}"

    def error(
        self, offset: int, what: str, *, expected: str | None = None, hint: str | None = None
    ) -> ExpressionError:
        """An error at a character of the text."""
        return ExpressionError(what, where=self.at(offset), expected=expected, hint=hint)

    def check_depth(self, depth: int, offset: int) -> None:
        """Refuse what is nested too deeply.

        Raises:
            ExpressionError: `depth` is above `MAX_DEPTH`.
        """
        if depth > MAX_DEPTH:
            raise self.error(
                offset,
                "the expression is nested too deeply",
                expected=f"at most {MAX_DEPTH} levels",
                hint="Split it into several rules.",
            )
