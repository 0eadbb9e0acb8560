"""Which rows a half-open breaker lets through: a share of them, evenly and without favourites.

Row c is let through where the fractional part of c / golden ratio is below the share. These are as even as
can be had in general (the count is off by at most a few rows, however many there are), and unlike every
twentieth row they do not keep step with callers: of a fleet whose robots always stand in the same order in a
batch, each has its turn. The multiplier is Knuth's (The Art of Computer Programming, volume 3, section 6.4).
"""

from __future__ import annotations

import numpy as np

from steersman.safety.columns import Rows

_TURN = 2**32
_GOLDEN = np.uint64(2654435769)
"""The whole number nearest to 2^32 divided by the golden ratio; it is odd."""
_MASK = np.uint64(_TURN - 1)


class Turnstile:
    """Lets shares of rows through, counting them from its first on."""

    __slots__ = ("_passed",)

    def __init__(self) -> None:
        self._passed = 0

    def admits(self, rows: int, share: float) -> Rows:
        """Which of the next `rows` rows are let through: [rows]; the first of all is where any is."""
        places = np.arange(self._passed, self._passed + rows, dtype=np.uint64) * _GOLDEN & _MASK
        self._passed = (self._passed + rows) % _TURN
        admitted: Rows = places < np.uint64(round(share * _TURN) or 1)
        return admitted
