"""The thread that runs one policy's model, batch by batch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from steersman.serving.deciding.call import Call
from steersman.serving.deciding.engine import Engine
from steersman.serving.dispatching.batching import BatchPlan
from steersman.serving.dispatching.waiting import BatchQueue, Outcome, WaitingCall
from steersman.serving.errors import CallError, Code

IDLE_S = 30.0
"""A thread that had nothing to do for so long ends; the next call starts another."""
Claim = Callable[[Sequence[Call]], Sequence[bool]]
"""Is told which calls a batch is about to answer; says which of them are its to answer."""
log = logging.getLogger(__name__)


class ModelThread:
    """A queue and the thread that empties it, which is there only while there is something to do.

    Args:
        policy: Whose model.
        plan: How it is run.
        engine: The decision core.
        lock: Guards the queue and who answers which call.
        clock: Nanoseconds, `time.perf_counter_ns`.
    """

    def __init__(
        self, policy: str, plan: BatchPlan, engine: Engine, lock: threading.Lock, clock: Callable[[], int]
    ) -> None:
        self.queue = BatchQueue(plan)
        self._policy = policy
        self._engine = engine
        self._lock = lock
        self._news = threading.Condition(lock)
        self._clock = clock
        self._thread: threading.Thread | None = None

    def put(self, item: WaitingCall) -> None:
        """One more waits. The caller holds the lock."""
        self.queue.put(item)
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name=f"model-{self._policy}", daemon=True)
            self._thread.start()
        else:
            self._news.notify()

    @property
    def idle(self) -> bool:
        """Whether it may be forgotten. The caller holds the lock."""
        return self._thread is None and not len(self.queue)

    def _live(self) -> None:
        going = True
        while going:
            try:
                going = self._turn()
            except Exception:
                log.exception("defect of a model's thread", extra={"policy": self._policy})
                with self._lock:  # whatever waits may have caused it, and would again
                    lost = take(self.queue.clear())
                deliver(lost, [defect()] * len(lost))

    def _turn(self) -> bool:
        """One batch. False when the thread may end."""
        batch = self._next()
        if batch is None:
            return False
        try:
            self._run(batch)
        except Exception:
            log.exception("defect while deciding a batch", extra={"policy": self._policy})
            with self._lock:
                lost = take(batch)
            deliver(lost, [defect()] * len(lost))
        finally:
            with self._lock:
                self.queue.finished(self._clock())
        return True

    def _next(self) -> list[WaitingCall] | None:
        """The next batch, when it is time for it; None when the thread may end."""
        with self._lock:
            while True:
                if not len(self.queue):
                    if not self._news.wait(IDLE_S) and not len(self.queue):
                        self._thread = None
                        return None
                elif delay := self.queue.delay_ns(self._clock()):
                    self._news.wait(delay * 1e-9)
                else:
                    return self.queue.take(self._clock())

    def _run(self, batch: Sequence[WaitingCall]) -> None:
        wanted: list[WaitingCall] = []
        left: list[WaitingCall] = []
        for item in batch:
            (wanted if item.sink.wanted(item.place) else left).append(item)
        if left:
            with self._lock:
                ours = take(left)
            deliver(ours, [_given_up()] * len(ours))
        if wanted:
            _Decision(wanted, self._lock).run(self._engine)


class _Decision:
    """One batch in the model. Whoever answers a call first, this or the timer, is the only one."""

    def __init__(self, batch: Sequence[WaitingCall], lock: threading.Lock) -> None:
        self._batch = batch
        self._lock = lock
        self._by_call = {id(item.call): item for item in batch}
        self._ours: set[int] = set()

    def run(self, engine: Engine) -> None:
        """Decides and answers."""
        calls = [item.call for item in self._batch]
        outcomes = decided(engine, calls, self._claim)
        self._claim(calls)
        ours = [place for place, item in enumerate(self._batch) if id(item) in self._ours]
        deliver([self._batch[place] for place in ours], [outcomes[place] for place in ours])

    def _claim(self, calls: Sequence[Call]) -> list[bool]:
        """Which calls are this batch's to answer; those are nobody else's from then on."""
        with self._lock:
            items = [self._by_call[id(call)] for call in calls]
            self._ours.update(map(id, take(items)))
        return [id(item) in self._ours for item in items]


def decided(engine: Engine, calls: Sequence[Call], claim: Claim | None = None) -> Sequence[Outcome]:
    """What the engine makes of calls. A defect must reach every caller that waits, and no thread."""
    try:
        return engine.decide(calls, claim)
    except Exception:
        log.exception("defect while deciding", extra={"policy": calls[0].policy})
        return [defect()] * len(calls)


def defect() -> CallError:
    """What callers learn of a defect."""
    return CallError(Code.INTERNAL, "internal", "internal error; the server's log has the details")


def take(items: Sequence[WaitingCall]) -> list[WaitingCall]:
    """Those that nobody answers yet; now the caller must, who holds the lock."""
    free = [item for item in items if not item.answered]
    for item in free:
        item.settle()
    return free


def deliver(items: Sequence[WaitingCall], outcomes: Sequence[Outcome]) -> None:
    """Each outcome goes where its call came from, all of one sink together."""
    by_sink: dict[int, list[int]] = {}
    for place, item in enumerate(items):
        by_sink.setdefault(id(item.sink), []).append(place)
    for places in by_sink.values():
        sink = items[places[0]].sink
        try:
            sink.reply([items[place].place for place in places], [outcomes[place] for place in places])
        except Exception:
            log.exception("defect while answering calls")


def _given_up() -> CallError:
    return CallError(Code.CANCELLED, "cancelled", "the caller no longer waits")
