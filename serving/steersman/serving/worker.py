"""A worker: the data plane. `python -m steersman.serving.worker FD`, spawned by the supervisor only.

It owns the transports and the engine, counts in its slot of shared memory, and talks to the supervisor over
the socket FD. It never opens the store and serves no HTTP. One event loop, one thread more where the native
transport takes calls, one for each model that is slow; loading happens on yet another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from steersman.bundle.errors import SteersmanError
from steersman.monitoring.counters import Segment, Slot
from steersman.safety.breaker_states import Transition
from steersman.safety.commands import CommandList
from steersman.safety.entry_points import EntryPoints
from steersman.safety.overrides import Commands
from steersman.serving.counting import CallCounter
from steersman.serving.deciding.engine import Engine
from steersman.serving.deciding.episodes import EpisodeKeeper
from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.dispatching.dispatcher import Dispatcher
from steersman.serving.loading.breaking import VersionBreakers
from steersman.serving.loading.loader import Loader
from steersman.serving.logs import configure_logs
from steersman.serving.messages import (
    MAX_LINE,
    TO_WORKER,
    Access,
    BreakerChanged,
    Drain,
    Failed,
    Failure,
    LoadedLane,
    Obey,
    Obeyed,
    Ready,
    Route,
    Routed,
    Start,
    line,
)
from steersman.serving.rollout.snapshot import RoutingSnapshot
from steersman.serving.rollout.tokens import TokenCodec, episode_hash
from steersman.serving.rpc.admission import Admission
from steersman.serving.rpc.oip.methods import Host, oip_methods
from steersman.serving.rpc.policy import policy_methods
from steersman.serving.rpc.reception import Reception
from steersman.serving.rpc.server import Address
from steersman.serving.rpc.transports import Transports

HEARTBEAT_S = 0.5
log = logging.getLogger(__name__)


class Worker:
    """One worker's life, from `Start` to `Drain`."""

    def __init__(self, start: Start, slot: Slot, writer: asyncio.StreamWriter) -> None:
        self._slot = slot
        self._writer = writer
        self._engine = Engine(
            bytes.fromhex(start.salt),
            EpisodeKeeper(TokenCodec(start.keyring), start.episode_ttl_s),
            start.limits.max_rows,
        )
        self._loop = asyncio.get_running_loop()
        self._loader = Loader(
            slot.block,
            Path(start.cache),
            start.trust,
            EntryPoints(start.entry_points),
            VersionBreakers(tell=self._tell_of_breaker),
        )
        self._engine.obey(_compiled(start.commands))
        self._obeyed = start.commands.number
        self._dispatcher = Dispatcher(self._engine, start.limits)
        self._transports = self._open_transports(start)

    def _open_transports(self, start: Start) -> Transports:
        reception = Reception(
            dispatcher=self._dispatcher,
            admission=Admission(start.limits.max_calls, start.limits.max_bytes_in_flight),
            count=CallCounter(self._slot),
            limits=start.limits,
        )
        host = Host(
            routing=lambda: self._engine.routing,
            total=Segment.open(Path(start.segment)).total,
            ready=lambda: bool(self._slot.process.ready_unix_ns),
            limits=start.limits,
        )
        methods = (*policy_methods(self._engine, start.limits.max_stream_episodes), *oip_methods(host))
        address = Address(start.host, start.port)
        folder = Path(start.segment).parent
        return Transports(
            start.transport,
            methods,
            reception,
            address,
            folder=folder,
            access=start.access,
            tls=start.tls,
        )

    async def run(self, snapshot: RoutingSnapshot, reader: asyncio.StreamReader) -> None:
        """Serves until told to drain, or until the supervisor is gone."""
        self._engine.swap(self._loader.load(snapshot, self._engine.routing))
        await self._transports.start(self._engine.routing)
        self._slot.process.ready_unix_ns = time.time_ns()
        heartbeat = asyncio.create_task(self._beat())
        self._say(Ready(routed=self._routed()))
        self._say(Obeyed(number=self._obeyed))
        drain = await self._follow(reader)
        self._slot.process.ready_unix_ns = 0
        await self._transports.drain(drain.lame_duck_s, drain.grace_s)
        await asyncio.to_thread(self._engine.close)
        heartbeat.cancel()

    async def _follow(self, reader: asyncio.StreamReader) -> Drain:
        """Takes new snapshots until there is a reason to end, which does not wait for what is loading."""
        newest: asyncio.Queue[RoutingSnapshot] = asyncio.Queue()
        routing = asyncio.create_task(self._keep_routed(newest))
        try:
            async for data in reader:
                message = TO_WORKER.validate_json(data)
                if isinstance(message, Drain):
                    return message
                if isinstance(message, Route):
                    newest.put_nowait(message.snapshot)
                if isinstance(message, Access):
                    self._transports.admit(message.access)
                if isinstance(message, Obey):
                    self._obey(message.commands)
        finally:
            routing.cancel()
        log.warning("the supervisor is gone; ending")
        return Drain(lame_duck_s=0.0, grace_s=5.0)

    def _obey(self, commands: CommandList) -> None:
        """Applies a list of commands. It does not wait for what is loading."""
        self._engine.obey(_compiled(commands))
        self._obeyed = commands.number
        self._say(Obeyed(number=self._obeyed))

    async def _keep_routed(self, newest: asyncio.Queue[RoutingSnapshot]) -> None:
        """Takes one snapshot after the other, and passes over those that others have followed meanwhile."""
        while True:
            snapshot = await newest.get()
            while not newest.empty():
                snapshot = newest.get_nowait()
            try:
                await self._route(snapshot)
            except Exception:
                log.exception("defect while taking a snapshot; the one before stays in force")

    async def _route(self, snapshot: RoutingSnapshot) -> None:
        self._engine.swap(await asyncio.to_thread(self._loader.load, snapshot, self._engine.routing))
        await self._transports.show(self._engine.routing)
        self._say(self._routed())

    async def _beat(self) -> None:
        """Shows that the event loop and the other threads turn that take or decide calls."""
        process = self._slot.process
        while True:
            busy_ns = int(self._dispatcher.busy_s() * 1e9)
            process.heartbeat_ns = min(self._transports.turned_ns(), time.monotonic_ns() - busy_ns)
            process.resident_bytes = resident_bytes()
            await asyncio.sleep(HEARTBEAT_S)

    def _tell_of_breaker(self, policy: str, version: int, told: Transition) -> None:
        """On whichever thread decides."""
        message = BreakerChanged(
            policy=policy,
            version=version,
            before=str(told.before),
            after=str(told.after),
            cause=str(told.cause),
            why=told.why,
        )
        self._loop.call_soon_threadsafe(self._say, message)

    def _say(self, message: Ready | Routed | Obeyed | BreakerChanged) -> None:
        self._writer.write(line(message))

    def _routed(self) -> Routed:
        routing = self._engine.routing
        return Routed(generation=routing.generation, lanes=_lanes(routing), failures=_failures(routing))


def _compiled(commands: CommandList) -> Commands:
    """The commands; rows name their episodes as their tokens do."""
    return Commands.compile(commands, episode_hash)


def _lanes(routing: RoutingTable) -> tuple[LoadedLane, ...]:
    return tuple(
        LoadedLane(
            policy=name,
            lane=lane.lane,
            version=lane.version,
            variant=lane.loaded.variant,
            digest=lane.loaded.digest,
        )
        for name, policy in routing.policies.items()
        for lane in policy.lanes
    )


def _failures(routing: RoutingTable) -> tuple[Failure, ...]:
    return tuple(
        Failure(policy=name, version=version, message=message)
        for name, policy in routing.policies.items()
        for version, message in policy.failures.items()
    )


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


async def serve(channel: socket.socket) -> int:
    """Runs a worker that is told what to do over `channel`. Returns its exit status."""
    reader, writer = await asyncio.open_unix_connection(sock=channel, limit=MAX_LINE)
    start = TO_WORKER.validate_json(await reader.readline())
    if not isinstance(start, Start):
        return 2
    configure_logs(start.log_level, as_json=start.log_json)
    asyncio.get_running_loop().set_exception_handler(_told_by_the_loop)
    try:
        slot = Slot.open(Path(start.segment), start.slot)
        slot.process.begin(os.getpid())
        await Worker(start, slot, writer).run(start.snapshot, reader)
    except SteersmanError as error:
        writer.write(line(Failed(message=str(error))))
        await writer.drain()
        return error.exit_code
    return 0


def _told_by_the_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody awaited. grpcio leaves calls behind that were cancelled while it stopped: no news."""
    if not isinstance(context.get("exception"), asyncio.CancelledError):
        loop.default_exception_handler(context)


def main() -> int:
    """Entry point. The supervisor decides when to end, so signals meant for the group are left to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.setblocking(False)  # noqa: FBT003  the library's name for it
    return asyncio.run(serve(channel))


if __name__ == "__main__":
    sys.exit(main())
