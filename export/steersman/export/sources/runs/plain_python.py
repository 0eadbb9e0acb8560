"""Python in a file, read as data: `dict(...)` and literals, which rl-baselines3-zoo would evaluate."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from steersman.export.errors import DamagedFileError

MOST_CHARACTERS = 10_000
"""Longer than anybody writes into one setting."""


def literal(value: object, where: Path) -> Any:
    """What a text evaluates to, where it is `dict(...)` or a literal; other types are as they are.

    Raises:
        DamagedFileError: It is other code.
    """
    if not isinstance(value, str):
        return value
    try:
        return _evaluated(ast.parse(_bounded(value), mode="eval").body)
    except (
        SyntaxError,
        TypeError,
        ValueError,
        MemoryError,
        RecursionError,
    ) as error:  # the last two: nested deeply
        raise DamagedFileError(f"{brief(value)} is code that is not run", where=str(where)) from error


def brief(value: object) -> str:
    """How Python writes a value, on one line of an error."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _bounded(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        raise ValueError
    return text


def _evaluated(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError
        return {keyword.arg: _evaluated(keyword.value) for keyword in node.keywords}
    return ast.literal_eval(node)
