"""How many calls, of how many bytes, are in flight in this worker, and whether there is room for one more."""

from __future__ import annotations

import threading

from steersman.serving.errors import CallError, Code
from steersman.serving.limits import Limits

RETRY_S = 0.05


class Admission:
    """Counts the calls in flight. Of use from any thread.

    Args:
        most: Most calls in flight.
        most_bytes: Most bytes of their requests. A call that comes alone is admitted whatever its size.
    """

    def __init__(self, most: int, most_bytes: int = Limits().max_bytes_in_flight) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._in_flight = 0
        self._bytes = 0

    @property
    def in_flight(self) -> int:
        """Calls that were admitted and are not answered yet."""
        return self._in_flight

    @property
    def bytes_in_flight(self) -> int:
        """Bytes of their requests."""
        return self._bytes

    def enter(self, size: int = 0, calls: int = 1) -> CallError | None:
        """Admits calls of so many bytes together, which must `leave` later; or none, and says why."""
        with self._lock:
            if self._in_flight + calls > self._most:
                return _full("too_many_calls", f"{self._most} calls are in flight, which is the most")
            if (self._bytes or calls > 1) and self._bytes + size > self._most_bytes:
                return _full("too_many_bytes", f"{self._bytes} of {self._most_bytes} bytes are in flight")
            self._in_flight += calls
            self._bytes += size
            return None

    def leave(self, calls: int = 1, size: int = 0) -> None:
        """So many calls, of so many bytes together, have been answered."""
        with self._lock:
            self._in_flight -= calls
            self._bytes -= size


def _full(reason: str, what: str) -> CallError:
    message = f"{what}; try again later"
    return CallError(Code.RESOURCE_EXHAUSTED, reason, message, retryable=True, retry_after_s=RETRY_S)
