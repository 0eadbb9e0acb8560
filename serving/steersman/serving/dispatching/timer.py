"""Calls whose deadlines come near while they wait or while the model has them."""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable, Sequence

from steersman.serving.dispatching.waiting import DueCell, WaitingCall

LEAST_CELLS = 64
"""So few cells are never worth looking through for empty ones."""
log = logging.getLogger(__name__)


class DeadlineTimer:
    """Tells when calls must be answered some other way. Its thread begins with the first call.

    A call that is answered leaves an empty cell, which goes when its time comes or when the cells have become
    many: a caller with a deadline an hour away must not cost its rows for an hour.

    Args:
        fire: Is given the calls whose time has come, on the timer's thread; some may be answered by then.
        clock: Nanoseconds, `time.perf_counter_ns`.
    """

    def __init__(self, fire: Callable[[Sequence[WaitingCall]], None], clock: Callable[[], int]) -> None:
        self._fire = fire
        self._clock = clock
        self._news = threading.Condition()
        self._heap: list[tuple[int, int, DueCell]] = []
        self._added = 0
        self._compact_at = LEAST_CELLS
        self._thread: threading.Thread | None = None

    def add(self, at_ns: int, item: WaitingCall) -> None:
        """`item` is due at this time, unless it is answered before."""
        with self._news:
            cell = item.due = DueCell(item)
            if item.answered:  # looked at after the cell was given: now who answers empties it
                return
            self._added += 1
            heapq.heappush(self._heap, (at_ns, self._added, cell))
            if len(self._heap) >= self._compact_at:
                self._compact()
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name="deadlines", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is cell:
                self._news.notify()

    def _live(self) -> None:
        while True:
            try:
                self._fire(self._due())
            except Exception:
                log.exception("defect while looking after deadlines")

    def _due(self) -> list[WaitingCall]:
        """Waits until calls are due. What was answered meanwhile is forgotten without waking anybody."""
        with self._news:
            while True:
                while self._heap and self._heap[0][2].item is None:
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
            if (item := heapq.heappop(self._heap)[2].item) is not None:
                due.append(item)
        return due

    def _compact(self) -> None:
        """Throws empty cells away. Next at twice as many as are left, so that it costs little per call."""
        self._heap = [entry for entry in self._heap if entry[2].item is not None]
        heapq.heapify(self._heap)
        self._compact_at = max(LEAST_CELLS, 2 * len(self._heap))
