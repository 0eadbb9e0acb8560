"""Calls whose deadlines come near while they wait or while the model has them."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Sequence

from steersman.serving.waiting import WaitingCall


class DeadlineTimer:
    """Tells when calls must be answered some other way. Its thread begins with the first call.

    Args:
        fire: Is given the calls whose time has come, on the timer's thread; some may be answered by then.
        clock: Nanoseconds, `time.perf_counter_ns`.
    """

    def __init__(self, fire: Callable[[Sequence[WaitingCall]], None], clock: Callable[[], int]) -> None:
        self._fire = fire
        self._clock = clock
        self._news = threading.Condition()
        self._heap: list[tuple[int, int, WaitingCall]] = []
        self._added = 0
        self._thread: threading.Thread | None = None

    def add(self, at_ns: int, item: WaitingCall) -> None:
        """`item` is due at this time, unless it is answered before."""
        with self._news:
            self._added += 1
            heapq.heappush(self._heap, (at_ns, self._added, item))
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name="deadlines", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is item:
                self._news.notify()

    def _live(self) -> None:
        while True:
            self._fire(self._due())

    def _due(self) -> list[WaitingCall]:
        """Waits until calls are due. What was answered meanwhile is forgotten without waking anybody."""
        with self._news:
            while True:
                while self._heap and self._heap[0][2].answered:
                    heapq.heappop(self._heap)
                if not self._heap:
                    self._news.wait()
                elif (wait_ns := self._heap[0][0] - self._clock()) > 0:
                    self._news.wait(wait_ns * 1e-9)
                else:
                    return self._pop_due()

    def _pop_due(self) -> list[WaitingCall]:
        now = self._clock()
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        return due
