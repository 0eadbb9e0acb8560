"""How many calls are in flight in this worker, and whether there is room for one more."""

from __future__ import annotations

import threading

from steersman.serving.errors import CallError, Code

RETRY_S = 0.05


class Admission:
    """Counts the calls in flight. Of use from any thread.

    Args:
        most: Most calls in flight.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Calls that were admitted and are not answered yet."""
        return self._in_flight

    def enter(self) -> CallError | None:
        """Admits a call, which must `leave` later; or says why not."""
        with self._lock:
            if self._in_flight < self._most:
                self._in_flight += 1
                return None
        message = f"{self._most} calls are in flight, which is the most; try again later"
        return CallError(
            Code.RESOURCE_EXHAUSTED, "too_many_calls", message, retryable=True, retry_after_s=RETRY_S
        )

    def leave(self, calls: int = 1) -> None:
        """So many calls have been answered."""
        with self._lock:
            self._in_flight -= calls
