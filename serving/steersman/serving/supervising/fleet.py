"""The workers: started, given every new snapshot, replaced when they die, hang or grow too large, drained."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from steersman.monitoring.counters import Segment
from steersman.safety.commands import CommandList
from steersman.serving.errors import ServingError
from steersman.serving.messages import BreakerChanged, Routed, Start
from steersman.serving.rollout.snapshot import RoutingSnapshot
from steersman.serving.security.access import AccessList
from steersman.serving.supervising.tending import keep_going
from steersman.serving.supervising.worker_process import WorkerProcess

WATCH_S = 0.5
MAX_BACKOFF_S = 10.0
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Care:
    """How workers are looked after.

    Attributes:
        workers: How many there are.
        start_timeout_s: Seconds that one gets to load its policies.
        hang_timeout_s: One that gives no sign of life for so long is ended.
        max_bytes: Resident memory beyond which one is replaced; 0 for no limit.
        lame_duck_s: Seconds between saying NOT_SERVING and refusing calls.
        grace_s: Seconds that calls in flight get to finish.
    """

    workers: int
    start_timeout_s: float
    hang_timeout_s: float
    max_bytes: int
    lame_duck_s: float
    grace_s: float


class Fleet:
    """All workers of one server.

    Args:
        start: What a worker is started with; its slot is filled in.
        care: How they are looked after.
        segment: Their counters.
        on_routed: Called when a worker says what it has loaded.
        on_breaker: Called when a breaker of a worker has changed its state.
    """

    def __init__(
        self,
        start: Start,
        care: Care,
        segment: Segment,
        on_routed: Callable[[int, Routed], None],
        on_breaker: Callable[[int, BreakerChanged], None] = lambda *_: None,
    ) -> None:
        self._on_breaker = on_breaker
        self._start = start
        self._care = care
        self._segment = segment
        self._on_routed = on_routed
        self._workers: dict[int, WorkerProcess] = {}
        self._news = asyncio.Event()

    @property
    def size(self) -> int:
        """How many workers there should be."""
        return self._care.workers

    @property
    def ready(self) -> int:
        """How many answer calls."""
        return sum(worker.ready for worker in list(self._workers.values()))

    def routed(self) -> tuple[Routed, ...]:
        """What each worker that answers last said that it has loaded."""
        workers = list(self._workers.values())
        return tuple(worker.routed for worker in workers if worker.ready and worker.routed)

    def current(self, generation: int) -> int:
        """How many workers use this snapshot or a later one."""
        return sum(routed.generation >= generation for routed in self.routed())

    async def start_all(self) -> None:
        """Starts every worker, and waits until all answer.

        Raises:
            ServingError: One could not start.
        """
        await asyncio.gather(*(self._spawn(slot) for slot in range(self._care.workers)))

    def route(self, snapshot: RoutingSnapshot) -> None:
        """Hands every worker another snapshot; those that start later get it, too."""
        self._start = self._start.model_copy(update={"snapshot": snapshot})
        for worker in self._workers.values():
            worker.route(snapshot)

    def admit(self, access: AccessList) -> None:
        """Tells every worker who may call from now on; those that start later know it, too."""
        self._start = self._start.model_copy(update={"access": access})
        for worker in self._workers.values():
            worker.admit(access)

    def obey(self, commands: CommandList) -> None:
        """Tells every worker what people have ordered; those that start later know it, too."""
        self._start = self._start.model_copy(update={"commands": commands})
        for worker in self._workers.values():
            worker.obey(commands)

    def obeying(self, number: int) -> int:
        """How many workers that answer follow this list of commands or a later one."""
        return sum(worker.ready and worker.obeyed >= number for worker in list(self._workers.values()))

    async def obeyed(self, number: int, timeout_s: float) -> bool:
        """Waits until every worker that answers follows the list. False when that took too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.obeying(number) < self.ready:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def settled(self, generation: int, timeout_s: float) -> bool:
        """Waits until every worker that answers uses the snapshot. False when that took too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.current(generation) < len(self.routed()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def watch(self) -> None:
        """Keeps the workers alive until cancelled."""
        await asyncio.gather(
            *(keep_going(f"watching worker {slot}", partial(self._watch, slot)) for slot in self._workers)
        )

    async def drain(self) -> None:
        """Ends all workers: those that answer in good order, the others at once."""
        care, workers = self._care, self._workers.values()
        await asyncio.gather(
            *(
                worker.drain(care.lame_duck_s, care.grace_s)
                if worker.ready or worker.draining
                else worker.kill()
                for worker in workers
            )
        )

    async def _spawn(self, slot: int) -> None:
        worker = WorkerProcess(slot, self._heard, self._news.set, self._on_breaker)
        self._workers[slot] = worker
        await worker.spawn(self._start.model_copy(update={"slot": slot}), self._care.start_timeout_s)

    def _heard(self, slot: int, routed: Routed) -> None:
        self._workers[slot].route(self._start.snapshot)  # there may be a newer one since it began to start
        if self._start.access is not None:
            self._workers[slot].admit(self._start.access)  # likewise
        self._workers[slot].obey(self._start.commands)
        self._news.set()
        self._on_routed(slot, routed)

    async def _watch(self, slot: int) -> None:
        """Keeps a slot's worker alive: ends it when it hangs or grows, starts another when it has ended."""
        backoff = WATCH_S
        while True:
            worker = self._workers[slot]
            await self._end_if_unwell(worker)
            if not worker.alive:
                self._news.set()
                log.error(
                    "worker ended; starting another", extra={"worker": slot, "status": await worker.wait()}
                )
                lived_s = time.monotonic() - worker.started_at
                backoff = WATCH_S if lived_s > MAX_BACKOFF_S else min(2 * backoff, MAX_BACKOFF_S)
                try:
                    await self._spawn(slot)
                except (ServingError, OSError) as error:
                    log.error("worker cannot start", extra={"worker": slot, "why": str(error)})  # noqa: TRY400
            await asyncio.sleep(backoff)

    async def _end_if_unwell(self, worker: WorkerProcess) -> None:
        seen = {"worker": worker.slot, "pid": worker.pid}
        if worker.alive and self._hangs(worker.slot):
            log.error("worker hangs; ending it", extra=seen)
            await worker.kill()
        if worker.ready and (size := self._too_large(worker)):
            log.error("worker has grown too large; replacing it", extra={**seen, "resident_bytes": size})
            await worker.drain(self._care.lame_duck_s, self._care.grace_s)

    def _hangs(self, slot: int) -> bool:
        last = self._segment.process(slot).heartbeat_ns
        return bool(last) and time.monotonic_ns() - last > self._care.hang_timeout_s * 1e9

    def _too_large(self, worker: WorkerProcess) -> int:
        """Its resident memory where that is beyond the limit, else 0; an earlier process's does not count."""
        process = self._segment.process(worker.slot)
        mine = process.pid == worker.pid
        return process.resident_bytes if mine and 0 < self._care.max_bytes < process.resident_bytes else 0
