"""The supervisor: owns HTTP, the routing decisions and the workers' lives; answers no calls itself.

It plans a routing snapshot, starts the workers with it, restarts those that die, ends those that hang, and at
SIGTERM or SIGINT drains them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from steersman.bundle.signature import ASK_NOBODY
from steersman.monitoring.counters import DEFAULT_SLOT_CELLS, Segment
from steersman.serving.counting import counters_layout
from steersman.serving.errors import ServingError
from steersman.serving.exposition import make_registry
from steersman.serving.http import HttpServer
from steersman.serving.limits import Limits
from steersman.serving.messages import Routed, Start
from steersman.serving.planning import Plan, Planner, read_deployments
from steersman.serving.ports import HeldPort
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.settings import ServerSettings
from steersman.serving.state import (
    KEYRING_FILE,
    load_keyring,
    load_salt,
    prepare_ready_file,
    prepare_state_dir,
    run_folder,
    save_snapshot,
    write_ready_file,
)
from steersman.serving.trust import read_trust
from steersman.serving.worker_process import WorkerProcess

WATCH_S = 0.5
MAX_BACKOFF_S = 10.0
log = logging.getLogger(__name__)


class Supervisor:
    """One run of a server. `run` returns when it has been told to end.

    Args:
        settings: Settings.
        on_ready: Called once with the addresses (`grpc`, `http`) when every worker answers.
    """

    def __init__(self, settings: ServerSettings, on_ready: Callable[[dict[str, str]], None]) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._workers: dict[int, WorkerProcess] = {}
        self._ending = asyncio.Event()
        self._salt = b""
        self._trust = ASK_NOBODY
        self._keyring = Keyring.new()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT.

        Raises:
            ServingError: Nothing can be served, or a port is taken.
            UsageError: The repository, a deployment or a trusted key is wrong.
        """
        settings = self._settings
        self._trust = read_trust(settings)
        state = prepare_state_dir(settings.state_dir)
        if settings.ready_file is not None:
            prepare_ready_file(settings.ready_file)
        self._salt = load_salt(state)
        self._keyring = load_keyring(settings.keyring or state / KEYRING_FILE)
        with run_folder() as folder, contextlib.closing(HeldPort(settings.host, settings.port)) as port:
            layout = counters_layout(settings.workers, DEFAULT_SLOT_CELLS)
            segment = Segment.create(folder / "counters", layout)
            plan = self._plan(segment)
            save_snapshot(state, plan.snapshot)
            registry = make_registry(segment, lambda: plan, self._routed)
            with self._http(registry) as http:
                await self._serve(plan, segment, port.port, http.address)

    async def _serve(self, plan: Plan, segment: Segment, port: int, http_address: str) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        start = self._start_message(plan, segment, port)
        try:
            if not await self._started(start):
                return
            self._announce(port, http_address)
            watches = [asyncio.create_task(self._watch(start, slot, segment)) for slot in self._workers]
            await self._ending.wait()
            log.info("draining")
            for watch in watches:
                watch.cancel()
        finally:
            await self._drain()

    async def _started(self, start: Start) -> bool:
        """Whether all workers answer; False when the end was asked for before they did."""
        spawning = asyncio.create_task(self._spawn_all(start))
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait((spawning, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not spawning.done():
            spawning.cancel()
            return False
        await spawning
        self._check_loaded()
        return True

    def _plan(self, segment: Segment) -> Plan:
        settings = self._settings
        deployments = read_deployments(settings.deployments)
        planner = Planner(
            settings.repository, deployments, settings.policies, segment.allocator(), self._trust
        )
        plan = planner.plan(generation=1)
        for policy, error in plan.failures.items():
            log.error("policy refused", extra={"policy": policy, "why": str(error)})
        if not plan.lanes:
            raise next(iter(plan.failures.values()))
        return plan

    def _http(self, registry: CollectorRegistry) -> contextlib.closing[HttpServer]:
        settings = self._settings
        return contextlib.closing(
            HttpServer(settings.http_host, settings.http_port, registry, self._readiness)
        )

    def _start_message(self, plan: Plan, segment: Segment, port: int) -> Start:
        settings = self._settings
        return Start(
            slot=0,
            segment=str(segment.path),
            host=settings.host,
            port=port,
            limits=Limits(
                max_rows=settings.max_rows,
                max_message_bytes=settings.max_message_bytes,
                max_calls=settings.max_calls,
                max_waiting_rows=settings.max_waiting_rows,
            ),
            salt=self._salt.hex(),
            keyring=self._keyring,
            episode_ttl_s=settings.episode_ttl_s,
            cache=str(settings.state_dir),
            log_level=settings.log_level,
            log_json=not sys.stderr.isatty(),
            trust=self._trust,
            snapshot=plan.snapshot,
        )

    async def _spawn_all(self, start: Start) -> None:
        await asyncio.gather(*(self._spawn(start, slot) for slot in range(self._settings.workers)))

    async def _spawn(self, start: Start, slot: int) -> None:
        worker = WorkerProcess(slot, self._heard)
        self._workers[slot] = worker
        await worker.spawn(start.model_copy(update={"slot": slot}), self._settings.start_timeout_s)

    def _heard(self, slot: int, routed: Routed) -> None:
        for failure in routed.failures:
            why = {"policy": failure.policy, "version": failure.version, "why": failure.message}
            log.error("version refused by worker", extra={"worker": slot, **why})

    def _check_loaded(self) -> None:
        """A server that can answer for no policy has not started."""
        for worker in self._workers.values():
            if worker.routed is not None and not worker.routed.lanes:
                failure = worker.routed.failures[0]
                where = f"{failure.policy} version {failure.version}"
                raise ServingError(failure.message, where=where, hint="No policy can be served.")

    def _announce(self, port: int, http_address: str) -> None:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        addresses = {"grpc": f"{host}:{port}", "http": f"http://{http_address}"}
        if self._settings.ready_file is not None:
            write_ready_file(self._settings.ready_file, json.dumps(addresses).encode())
        log.info("serving", extra=addresses)
        self._on_ready(addresses)

    async def _watch(self, start: Start, slot: int, segment: Segment) -> None:
        """Keeps a slot's worker alive: ends it when it hangs, starts another when it has ended."""
        backoff = WATCH_S
        while True:
            worker = self._workers[slot]
            if worker.alive and self._hangs(segment, slot):
                log.error("worker hangs; ending it", extra={"worker": slot, "pid": worker.pid})
                await worker.kill()
            if not worker.alive:
                log.error(
                    "worker ended; starting another", extra={"worker": slot, "status": await worker.wait()}
                )
                lived_s = time.monotonic() - worker.started_at
                backoff = WATCH_S if lived_s > MAX_BACKOFF_S else min(2 * backoff, MAX_BACKOFF_S)
                try:
                    await self._spawn(start, slot)
                except (ServingError, OSError) as error:
                    log.error("worker cannot start", extra={"worker": slot, "why": str(error)})  # noqa: TRY400
            await asyncio.sleep(backoff)

    def _hangs(self, segment: Segment, slot: int) -> bool:
        last = segment.process(slot).heartbeat_ns
        return bool(last) and time.monotonic_ns() - last > self._settings.hang_timeout_s * 1e9

    async def _drain(self) -> None:
        settings = self._settings
        lame_duck_s, grace_s = settings.lame_duck_s, settings.grace_s
        await asyncio.gather(
            *(w.drain(lame_duck_s, grace_s) if w.ready else w.kill() for w in self._workers.values())
        )

    def _routed(self) -> tuple[Routed, ...]:
        workers = list(self._workers.values())
        return tuple(worker.routed for worker in workers if worker.ready and worker.routed)

    def _readiness(self) -> tuple[bool, str]:
        ready = sum(worker.ready for worker in list(self._workers.values()))
        wanted = self._settings.workers
        return ready == wanted and not self._ending.is_set(), f"{ready} of {wanted} workers answer"


def run_server(settings: ServerSettings, on_ready: Callable[[dict[str, str]], None] = lambda _: None) -> None:
    """Runs a server in this process until it is told to end."""

    async def run() -> None:
        await Supervisor(settings, on_ready).run()

    asyncio.run(run())
