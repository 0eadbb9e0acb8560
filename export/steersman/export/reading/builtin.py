"""Python's and numpy's own types, as far as a pickle may call them: with plain values, or flat rows of these.

The real ones take anything and walk all of it: the text of a list that holds itself forty times over, or its
hash, never ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

Check = Callable[..., None]

LONGEST_TEXT: Final = 1000
"""Of what is turned into a number or a text."""


class StandIn:
    """A function that a pickle can call and not alter."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Refuses: pickle would set attributes itself if this were not here."""
        raise ValueError("a function has no state")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name!r} cannot be set")


class BuiltinType(StandIn):
    """Stands for a type.

    Args:
        kind: The type.
        check: Raises when it may not be called with some values.

    Attributes:
        kind: The type.
    """

    __slots__ = ("_check", "kind")

    _check: Check
    kind: type[Any]

    def __init__(self, kind: type[Any], check: Check) -> None:
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "_check", check)

    def __call__(self, *values: Any) -> Any:
        """One of the type, made of the values."""
        self._check(*values)
        return self.kind(*values)


def scalar(*values: object) -> None:
    """What numbers and texts are made of: plain values."""
    check_plain(values)
    if any(isinstance(value, str | bytes) and len(value) > LONGEST_TEXT for value in values):
        raise ValueError(f"a text of more than {LONGEST_TEXT} characters")


def row(values: object = ()) -> None:
    """What lists and tuples are made of: other collections, whatever these hold."""
    if not isinstance(values, list | tuple | set | frozenset):
        raise TypeError(f"a {type(values).__name__} where a list is expected")


def members(values: Any = ()) -> None:
    """What sets are made of: plain values."""
    row(values)
    check_plain(values)


def pairs(values: Any = ()) -> None:
    """What dictionaries are made of: other dictionaries, or pairs whose keys are plain."""
    if isinstance(values, dict):
        return
    row(values)
    for pair in values:
        row(pair)
        check_plain(list(pair)[:1])


def check_plain(values: Iterable[object]) -> None:
    """That values are numbers, texts or nothing at all: what can be hashed and written at once.

    Raises:
        TypeError: One is not.
    """
    for value in values:
        if not isinstance(value, str | bytes | int | float | complex | np.generic | None):
            raise TypeError(f"a {type(value).__name__} where a number or a text is expected")
