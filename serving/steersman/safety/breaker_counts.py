"""What a breaker counts of decisions, and which limit that is above."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from steersman.safety.breaker_settings import BreakerSettings
from steersman.safety.breaker_states import BreakerCause


class Tally(NamedTuple):
    """Decisions, and how many of them were bad. One may be bad in several ways."""

    rows: int = 0
    errors: int = 0
    guarded: int = 0
    late: int = 0

    @property
    def healthy(self) -> int:
        """At least so many decisions were bad in no way."""
        return max(self.rows - self.errors - self.guarded - self.late, 0)

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        rows, errors, guarded, late = other
        return Tally(self.rows + rows, self.errors + errors, self.guarded + guarded, self.late + late)


class Limits:
    """The limits of a breaker's settings; those that are not stated are left out."""

    __slots__ = ("_limits",)

    def __init__(self, settings: BreakerSettings) -> None:
        stated = (
            (BreakerCause.ERRORS, 1, settings.errors),
            (BreakerCause.GUARDED, 2, settings.guarded),
            (BreakerCause.LATE, 3, settings.late.rate if settings.late else None),
        )
        self._limits = tuple((cause, field, limit) for cause, field, limit in stated if limit is not None)

    def exceeded(self, tally: Tally, least: int) -> tuple[BreakerCause, str] | None:
        """The first limit that the tally is above, and that in words; None where it is above none.

        Args:
            tally: What was counted.
            least: Decisions that it is counted of, at least: as if those that are not there yet were good.
        """
        rows = max(tally.rows, least)
        for cause, field, limit in self._limits:
            if tally[field] / rows > limit:
                return cause, f"{tally[field]} of {rows} decisions {_SAID[cause]}, the limit is {limit:.3g}"
        return None


_SAID = {
    BreakerCause.ERRORS: "failed",
    BreakerCause.GUARDED: "were kept from the model by the guard",
    BreakerCause.LATE: "were late",
}


class Window:
    """The tally of the last decisions, in whole batches: the fewest that hold `size`, once there are so many.

    Adding a batch takes constant time on average: each is put in once and taken out once.

    Attributes:
        tainted: Whether any decision in it was bad.
    """

    __slots__ = ("_batches", "_errors", "_guarded", "_late", "_rows", "_size", "tainted")

    def __init__(self, size: int) -> None:
        self._size = size
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self._batches: deque[tuple[int, int, int, int]] = deque()
        self._rows = self._errors = self._guarded = self._late = 0
        self.tainted = False

    @property
    def tally(self) -> Tally:
        """What is in the window."""
        return Tally(self._rows, self._errors, self._guarded, self._late)

    def add(self, rows: int, errors: int, guarded: int, late: int) -> None:
        """Adds a batch of at least one decision, and forgets those that are no longer needed."""
        batches = self._batches
        batches.append((rows, errors, guarded, late))
        self._rows += rows
        if errors or guarded or late:
            self._count(errors, guarded, late)
        while self._rows - batches[0][0] >= self._size:
            rows, errors, guarded, late = batches.popleft()
            self._rows -= rows
            if errors or guarded or late:
                self._count(-errors, -guarded, -late)

    def _count(self, errors: int, guarded: int, late: int) -> None:
        self._errors += errors
        self._guarded += guarded
        self._late += late
        self.tainted = bool(self._errors or self._guarded or self._late)
