"""A share of one processor core, as a token bucket of CPU time."""

from __future__ import annotations

BURST_S = 1.0
"""A budget that was not used adds up to what it gains in so many seconds."""


class CpuBudget:
    """CPU time that may be used: at most `share` of a core over time.

    Work is begun while there is something left and may overdraw; then nothing is begun until that is made
    up for. So over any `t` seconds no more than `share * (t + BURST_S)` is used, plus one piece of work.

    Args:
        share: Share of one core, above 0.
        now_s: The time now, seconds on any clock.
    """

    def __init__(self, share: float, now_s: float) -> None:
        self._share = share
        self._most_s = share * BURST_S
        self._left_s = self._most_s
        self._looked_s = now_s

    def spend(self, seconds: float) -> None:
        """So much CPU time was used."""
        self._left_s -= seconds

    def allows(self, now_s: float) -> bool:
        """Whether work may begin."""
        gained = max(now_s - self._looked_s, 0.0) * self._share
        self._left_s = min(self._left_s + gained, self._most_s)
        self._looked_s = now_s
        return self._left_s >= 0.0
