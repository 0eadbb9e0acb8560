"""Shadow lanes: what another version would have done, beside the requests and never returned.

Once rows are decided, some of them are offered here; the caller's thread leaves a reference and goes on. One
thread for all shadow lanes decides them as the lane would, with the same mask, mode and decision ids, so that
sampled actions come from the same random numbers, and compares. It alone counts in the lanes' blocks.
Whatever fails here reaches nobody: the rows are incomparable, and the log says so once a minute.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.monitoring.blocks import SHADOW_OUTCOMES
from steersman.serving.deciding.conclusion import record
from steersman.serving.deciding.pipeline import decide_rows
from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.deciding.runtime import LaneRuntime
from steersman.serving.deciding.work import Terms, Work
from steersman.serving.decision import SOURCE_CODE, Source
from steersman.serving.shadowing.agreement import agreeing
from steersman.serving.shadowing.shadow_queue import LINGER_S, Offer, ShadowQueue, joined, sample

Array = NDArray[Any]
Spawn = Callable[[Callable[[], None]], threading.Thread | None]
"""Has a function run on a thread; tests that take the turns themselves have none."""

LOG_EVERY_S = 60.0
_OUTCOME = {name: code for code, name in enumerate(SHADOW_OUTCOMES)}
_MADE_BY_POLICY = (SOURCE_CODE[Source.POLICY], SOURCE_CODE[Source.EXPLORATION])
log = logging.getLogger(__name__)


def daemon(run: Callable[[], None]) -> threading.Thread:
    """Runs it on a thread that keeps no process alive."""
    thread = threading.Thread(target=run, name="shadow", daemon=True)
    thread.start()
    return thread


class ShadowRunner:
    """The shadow lanes of a worker and their thread, which is there from the first lane on.

    Args:
        salt: Secret that noise is made from, the engine's.
        spawn: Starts the thread.
        clock: Seconds, never backwards.
        cpu_clock: Seconds of CPU time of the calling thread.
    """

    def __init__(
        self,
        salt: bytes,
        spawn: Spawn = daemon,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._salt = salt
        self._spawn = spawn
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._news = threading.Condition(threading.Lock())
        self._queues: dict[int, ShadowQueue] = {}
        self._closed: list[ShadowQueue] = []
        self._thread: threading.Thread | None = None
        self._started = False
        self._stopping = False
        self._complained_s = -LOG_EVERY_S

    def follow(self, routing: RoutingTable) -> None:
        """Runs the shadow lanes of this table. What waits for a lane that is gone is dropped."""
        with self._news:
            queues = dict(self._wanted(routing))
            for key, queue in self._queues.items():
                if queues.get(key) is not queue:
                    queue.clear()
                    self._closed.append(queue)
            self._queues = queues
            self._news.notify()
            starts = bool(queues) and not self._started
            self._started |= starts
        if starts:
            self._thread = self._spawn(self._live)

    def _wanted(self, routing: RoutingTable) -> list[tuple[int, ShadowQueue]]:
        """The queues by the identity of their lanes; one that has not changed goes on."""
        found = []
        for policy in routing.policies.values():
            lane, settings = policy.shadow, policy.route.shadow
            if lane is None or settings is None:
                continue
            queue = self._queues.get(id(lane))
            if queue is None or queue.settings != settings:
                queue = ShadowQueue(lane, settings, self._clock())
            found.append((id(lane), queue))
        return found

    def offer(
        self, shadow: LaneRuntime, work: Work, ids: NDArray[np.uint8], kept: NDArray[np.bool_] | None
    ) -> None:
        """Rows that another lane has decided. Never raises, and waits for no model.

        Args:
            shadow: The policy's shadow lane.
            work: The rows with their actions.
            ids: [N, 16] decision ids.
            kept: [N], rows that were answered so; None where all were.
        """
        try:
            queue = self._queues.get(id(shadow))
            if queue is None:
                return
            offered = sample(work, ids, kept, queue.settings.share, self._clock())
            if offered is None:
                return
            with self._news:
                queue.put(offered)
        except Exception as error:  # noqa: BLE001  nothing may come between an answer and its caller
            self._complain(shadow, error)

    def close(self, timeout_s: float = 1.0) -> None:
        """Ends the thread; what waits is dropped."""
        self.follow(RoutingTable())
        with self._news:
            self._stopping = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _live(self) -> None:
        while not self._stopping:
            try:
                ran = self.step()
            except Exception as error:  # noqa: BLE001  the next turn may fare better
                self._log(error)
                ran = False
            if not ran:
                self._rest()
        self.step()

    def _rest(self) -> None:
        """Waits for rows to gather. It is not told of them, which would have it compete with who tells."""
        with self._news:
            if not self._stopping and not self._closed:
                self._news.wait(LINGER_S if self._queues else None)

    def step(self) -> bool:
        """One turn: counts what was dropped and runs at most one batch. Whether it ran one."""
        began_s = self._cpu_clock()
        turn, batch, dropped = self._next()
        for queue, rows in dropped:
            if rows:
                _count(queue.lane, dropped=rows)
        if turn is None:
            return False
        try:
            self._run(turn, batch)
        finally:
            turn.budget.spend(self._cpu_clock() - began_s)
        return True

    def _next(self) -> tuple[ShadowQueue | None, list[Offer], list[tuple[ShadowQueue, int]]]:
        """Whose turn it is, with which rows, and how many rows of which queues were dropped."""
        now_s = self._clock()
        with self._news:
            going_on = list(self._queues.values())
            for queue in going_on:
                queue.expire(now_s)
            dropped = [(queue, queue.take_dropped()) for queue in (*self._closed, *going_on)]
            self._closed = []
            ready = [queue for queue in going_on if queue.is_ready(now_s)]
            turn = min(ready, key=lambda queue: queue.oldest_s, default=None)
            return turn, [] if turn is None else turn.take(), dropped

    def _run(self, queue: ShadowQueue, batch: Sequence[Offer]) -> None:
        """Decides and compares a batch."""
        rows = sum(offer.columns.rows for offer in batch)
        try:
            agreed, compared = self._compared(queue, joined(batch))
        except Exception as error:  # noqa: BLE001  a shadow that fails is no reason to end
            self._complain(queue.lane, error)
            agreed, compared = 0, 0
        _count(queue.lane, agreed=agreed, disagreed=compared - agreed, incomparable=rows - compared)

    def _compared(self, queue: ShadowQueue, offer: Offer) -> tuple[int, int]:
        """How many rows agreed, and how many could be compared."""
        lane = queue.lane
        if offer.mode not in lane.contract.modes:
            return 0, 0
        terms = Terms(offer.mode, offer.ids, self._salt)
        work = decide_rows(lane, offer.columns, terms, failed=self._complain)
        record(work)
        comparable = np.isin(offer.sources, _MADE_BY_POLICY) & np.isin(work.sources, _MADE_BY_POLICY)
        answered, other = offer.actions[comparable], work.actions[comparable]
        agreed = agreeing(lane.contract.action, answered, other, queue.settings.tolerance)
        return int(np.count_nonzero(agreed)), len(agreed)

    def _complain(self, lane: LaneRuntime, error: Exception) -> None:
        self._log(error, policy=lane.loaded.manifest.policy, version=lane.version)

    def _log(self, error: Exception, **about: object) -> None:
        """Says what went wrong, unless something was said a moment ago."""
        now_s = self._clock()
        if now_s - self._complained_s >= LOG_EVERY_S:
            self._complained_s = now_s
            log.error("a shadow failed; more within a minute is not logged", exc_info=error, extra=about)


def _count(lane: LaneRuntime, **outcomes: int) -> None:
    counts = np.zeros(len(SHADOW_OUTCOMES), np.int64)
    for name, rows in outcomes.items():
        counts[_OUTCOME[name]] = rows
    lane.recorder.record_shadow(counts)
