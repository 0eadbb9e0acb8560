"""The calls of one policy that wait for its model: when a batch begins, and with whom.

Free of threads and clocks: times come in, and the caller holds a lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from steersman.serving.deciding.call import Call
from steersman.serving.decision import Decisions
from steersman.serving.dispatching.batching import BatchPlan
from steersman.serving.errors import CallError

Outcome = Decisions | CallError
_SLOWEST = 20.0
_MEMORY = 0.8
_FORGIVENESS = 0.98


class Sink(Protocol):
    """Where the outcomes of calls that were submitted together go."""

    def reply(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Takes the outcomes of the calls at these places.

        It comes with some or all at a time, on any thread, and once for every call; after a defect a call may
        be answered again, and what comes second is dropped.
        """
        ...

    def wanted(self, place: int) -> bool:
        """Whether the caller at this place still waits. What nobody waits for is not decided."""
        ...


@dataclass(slots=True, eq=False)
class WaitingCall:
    """A call that waits.

    Attributes:
        call: The call.
        place: Its place among those that were submitted with it.
        sink: Where its outcome goes.
        rows: How many rows it has.
        entered_ns: Since when it waits.
        last_start_ns: When its batch must begin at the latest for its caller's deadline; 0 for whenever.
        answered: Whether somebody has taken it upon him to answer; who sets it, by `settle`, must.
        due: Where the timer has it, if it does.
    """

    call: Call
    place: int
    sink: Sink
    rows: int
    entered_ns: int
    last_start_ns: int = 0
    answered: bool = False
    due: DueCell | None = None

    def settle(self) -> None:
        """Somebody answers it now. The caller holds the lock. A timer must not keep its rows any longer."""
        self.answered = True
        if self.due is not None:
            self.due.item = None


@dataclass(slots=True, eq=False)
class DueCell:
    """What a timer keeps of a call: the call until it is answered, then nothing."""

    item: WaitingCall | None


@dataclass(slots=True)
class BatchQueue:
    """The calls of one policy that wait, and what its thread is doing. The caller holds a lock.

    Attributes:
        plan: How they are run.
        rows: Rows that wait.
        slowness: What batches took lately, as a multiple of what the plan says; at least 1.
        running_rows: Rows that the model has now.
        running_since_ns: Since when; 0 when it has none.
    """

    plan: BatchPlan
    rows: int = 0
    slowness: float = 1.0
    running_rows: int = 0
    running_since_ns: int = 0
    _items: deque[WaitingCall] = field(default_factory=deque)
    _had_company: bool = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: WaitingCall) -> None:
        """One more waits."""
        self._items.append(item)
        self.rows += item.rows

    def wait_s(self, rows: int, now_ns: int) -> float:
        """Seconds until `rows` that come now would have their answers."""
        running_s = 0.0
        if self.running_rows:
            elapsed_s = (now_ns - self.running_since_ns) * 1e-9
            running_s = max(self.seconds(self.running_rows) - elapsed_s, 0.0)
        return running_s + self.slowness * self.plan.seconds_in_batches(self.rows + rows)

    def seconds(self, rows: int) -> float:
        """What the model takes for so many rows as things are."""
        return self.slowness * self.plan.seconds(rows)

    def delay_ns(self, now_ns: int) -> int:
        """How much longer to wait for company; 0 when a batch shall begin.

        Only who had company the last time waits for it: a single caller would wait in vain.
        """
        if not self._had_company or self._is_preferred():
            return 0
        begins = self._items[0].entered_ns + self.plan.max_delay_ns
        for item in self._items:
            if item.last_start_ns:
                begins = min(begins, item.last_start_ns)
        return max(begins - now_ns, 0)

    def _is_preferred(self) -> bool:
        return self.rows >= self.plan.most_rows or self.rows in self.plan.preferred_rows

    def take(self, now_ns: int) -> list[WaitingCall]:
        """The next batch, oldest first; it counts as running until `finished`."""
        batch = [self._items.popleft()]
        rows = batch[0].rows
        while self._items and rows + self._items[0].rows <= self.plan.most_rows:
            batch.append(self._items.popleft())
            rows += batch[-1].rows
        self.rows -= rows
        self._had_company = len(batch) > 1 or bool(self._items)
        self.running_rows, self.running_since_ns = rows, now_ns
        return batch

    def finished(self, now_ns: int) -> None:
        """The batch has been decided; the next forecast knows how long it took."""
        told = self.plan.seconds(self.running_rows)
        took = (now_ns - self.running_since_ns) * 1e-9
        ratio = min(max(took / told, 1.0), _SLOWEST) if told else 1.0
        self.slowness = _MEMORY * self.slowness + (1 - _MEMORY) * ratio
        self.running_rows = self.running_since_ns = 0

    def forgive(self) -> None:
        """A call was refused for what batches took lately; in time it is tried again."""
        self.slowness = max(1.0, _FORGIVENESS * self.slowness)

    def clear(self) -> list[WaitingCall]:
        """Nobody waits any longer, and nothing runs. Returns who did wait."""
        items = list(self._items)
        self._items.clear()
        self.rows = self.running_rows = self.running_since_ns = 0
        return items

    def drop(self, unwanted: Collection[WaitingCall]) -> None:
        """Those do not wait any longer."""
        gone = {id(item) for item in unwanted}
        kept = [item for item in self._items if id(item) not in gone]
        self._items = deque(kept)
        self.rows = sum(item.rows for item in kept)
