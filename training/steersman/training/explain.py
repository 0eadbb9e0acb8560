"""Turn what libraries complain about into one line for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The dotted field concerned and what is wrong with it, as ``("gamma", "... got 2")``."""
    problem = error.errors(include_url=False)[0]
    # Between the fields pydantic names the branches of unions, such as list[int]: of no use to a reader.
    field = ".".join(
        str(part) for part in problem["loc"] if str(part).isidentifier() or isinstance(part, int)
    )
    what = problem["msg"].removeprefix("Value error, ")
    return field, f"{what[0].lower()}{what[1:]}, got {problem['input']!r}"


def one_line(error: BaseException) -> str:
    """The kind of an exception and its message, without line breaks or a full stop."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
