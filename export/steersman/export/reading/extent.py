"""How large something is when it is walked through: by every path, as printing or copying it would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from steersman.export.errors import DamagedFileError
from steersman.export.reading.record import Record

MOST_VALUES: Final = 1_000_000
DEEPEST: Final = 100
"""Levels of containers. Python itself gives up at a thousand calls, and some walks take several a level."""


def check_extent(value: object, where: str) -> None:
    """That whoever walks through a value comes to an end.

    A few bytes can hold one list in another twice, that one twice in a third, and so on; or in itself.

    Raises:
        DamagedFileError: It is nested too deeply, holds itself, or has too many paths.
    """
    paths, _ = _Extent(where).of(value, DEEPEST)
    if paths > MOST_VALUES:
        raise DamagedFileError("it holds too many values", where=where, expected=f"at most {MOST_VALUES:,}")


class _Extent:
    def __init__(self, where: str) -> None:
        self._where = where
        self._known: dict[int, tuple[int, int]] = {}

    def of(self, value: object, levels: int) -> tuple[int, int]:
        """How many values it is with all that is in it, and how many levels; each container counts once."""
        parts = _parts(value)
        if parts is None:
            return 1, 0
        paths, height = self._known.get(id(value), (0, 0))
        if levels <= height:
            raise DamagedFileError(
                "it holds itself, or is nested too deeply",
                where=self._where,
                expected=f"at most {DEEPEST} levels",
            )
        if not paths:
            found = [self.of(part, levels - 1) for part in parts]
            paths = 1 + sum(count for count, _ in found)
            height = 1 + max((depth for _, depth in found), default=0)
            self._known[id(value)] = paths, height
        return paths, height


def _parts(value: Any) -> Iterable[object] | None:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, Record):
        return (value.args, value.state)
    return value if isinstance(value, list | tuple | set | frozenset) else None
