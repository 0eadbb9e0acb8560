"""The supervisor: owns HTTP, the control service, the routing decisions and the workers' lives.

It answers no calls for decisions itself. It plans a routing snapshot, starts the workers with it, keeps the
plan in step with deployments, repository and workers, and at SIGTERM or SIGINT drains them all.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from steersman.monitoring.counters import DEFAULT_SLOT_CELLS, Segment
from steersman.safety.commands import LeaseSettings
from steersman.safety.entry_points import EntryPoints
from steersman.safety.members import Aids
from steersman.serving.clock import utc_now
from steersman.serving.control.operator import Operator
from steersman.serving.counting import counters_layout
from steersman.serving.errors import ServingError
from steersman.serving.planning.planner import NOTHING_BEFORE, Plan, Planner
from steersman.serving.rollout.archive import Archive
from steersman.serving.security.access import AccessList
from steersman.serving.security.exposure import check_exposure
from steersman.serving.security.transport import transport_of
from steersman.serving.settings import ServerSettings
from steersman.serving.state import load_snapshot, run_folder, save_snapshot, save_states, write_ready_file
from steersman.serving.supervising.commanding import Commander
from steersman.serving.supervising.director import Director
from steersman.serving.supervising.exposition import make_registry
from steersman.serving.supervising.fleet import Fleet
from steersman.serving.supervising.following import Follower
from steersman.serving.supervising.holding import holding
from steersman.serving.supervising.keeping import Keeper
from steersman.serving.supervising.launching import Secrets, care_of, read_secrets, start_message
from steersman.serving.supervising.seeding import Seeder, read_seeds
from steersman.serving.supervising.tending import keep_going

if TYPE_CHECKING:
    from steersman.serving.control.overseer import Overseer
    from steersman.serving.control.server import ControlServer
    from steersman.serving.control.servicer import ControlServicer

ROLLOUT_ID_BYTES = 8
log = logging.getLogger(__name__)


class Supervisor:
    """One run of a server. `run` returns when it has been told to end.

    Args:
        settings: Settings.
        on_ready: Called once with the addresses (`grpc`, `http`, `control`) when every worker answers.
    """

    def __init__(self, settings: ServerSettings, on_ready: Callable[[dict[str, str]], None]) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._ending = asyncio.Event()
        self._answers = False
        self._archive = Archive(settings.store, settings.state_dir)

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT.

        Nothing that is kept changes until all workers answer, but that deployment files are applied.

        Raises:
            ServingError: Nothing can be served, or a port is taken.
            UsageError: The repository, a deployment, a trusted key or another file is wrong; the settings
                protect less than they seem to; or another server uses the state folder.
        """
        settings = self._settings
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        check_exposure(settings)
        transport = transport_of(settings)
        with holding(settings) as held, run_folder() as folder:
            secret = read_secrets(settings)
            layout = counters_layout(settings.workers, DEFAULT_SLOT_CELLS)
            segment = Segment.create(folder / "counters", layout)
            director = await self._director(segment, secret)
            snapshot, port = director.plan.snapshot, held.grpc.port
            start = start_message(settings, secret, snapshot, segment, port, transport=transport)
            commander = self._commander(director)
            start = start.model_copy(update={"commands": await commander.begin()})
            director.lead(
                Fleet(start, care_of(settings, transport), segment, director.heard, commander.witness)
            )
            commander.lead(director.fleet.obey)
            registry = make_registry(segment, director, self._archive, lambda: commander.current)
            held.http.serve(registry, partial(self._readiness, director))
            addresses = {"grpc": self._shown(port), "http": f"http://{held.http.address}"}
            await self._serve(director, commander, secret, addresses)

    def _commander(self, director: Director) -> Commander:
        """Owns what people order; it knows what the deployments in force ask for."""

        def asked() -> dict[str, LeaseSettings | None]:
            return {route.policy: route.safety.lease for route in director.plan.snapshot.policies}

        return Commander(self._settings.state_dir, self._archive, utc_now, asked)

    async def _director(self, segment: Segment, secret: Secrets) -> Director:
        """The director with its first plan.

        Raises:
            SteersmanError: Nothing can be served.
        """
        settings, folder = self._settings, self._settings.state_dir
        seeds = read_seeds(settings.deployments)
        planner = Planner(
            settings.repository,
            {name: seed.deployment for name, seed in seeds.items()},
            settings.policies,
            segment.allocator(),
            secret.trust,
            aids=Aids(EntryPoints(settings.allow_entry_points, imports=False)),
            clock=utc_now,
            grace_s=settings.episode_grace_s,
        )
        deployed = await Seeder(self._archive, planner, folder, utc_now, new_rollout_id).deployed(seeds)
        last = load_snapshot(folder)
        before = await asyncio.to_thread(planner.recall, last) if last else NOTHING_BEFORE

        def keep(plan: Plan) -> None:
            if not self._answers:  # a start that fails leaves everything as it was
                return
            save_snapshot(folder, plan.snapshot)
            save_states(folder, director.states)

        director = Director(planner, keep, deployed.states, before, last.generation if last else 0)
        plan = await director.begin(deployed.cut)
        if not plan.lanes:
            raise next(iter(plan.failures.values()))
        return director

    async def _serve(
        self, director: Director, commander: Commander, secret: Secrets, addresses: dict[str, str]
    ) -> None:
        keeper = Keeper(director, self._settings.poll_s)
        starting = asyncio.create_task(self._start(director.fleet, keeper))
        try:
            async with self._control(director, keeper, commander, secret) as control:
                if not await self._started(starting):
                    return
                _check_loaded(director.fleet)
                self._answers = True
                director.keep()
                await control.start()
                self._announce({**addresses, "control": control.address})
                await self._attend(director, keeper, commander, control=control, secret=secret)
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await director.fleet.drain()
            await self._archive.close()

    async def _start(self, fleet: Fleet, keeper: Keeper) -> None:
        await fleet.start_all()
        await keeper.settle_first(self._settings.start_timeout_s)

    async def _started(self, starting: asyncio.Task[None]) -> bool:
        """Whether all workers answer; False when the end was asked for before they did."""
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not starting.done():
            return False
        await starting
        return True

    async def _attend(
        self,
        director: Director,
        keeper: Keeper,
        commander: Commander,
        *,
        control: ControlServer,
        secret: Secrets,
    ) -> None:
        """Keeps everything going until the end is asked for."""

        def admit(access: AccessList) -> None:
            director.fleet.admit(access)
            control.admit(access)

        works: dict[str, Callable[[], Awaitable[None]]] = {
            "watching": director.fleet.watch,
            "keeping": keeper.run,
            "following the store": Follower(director, self._archive).run,
            "commanding": commander.run,
            "following commands": commander.run_following,
        }
        if secret.callers is not None:
            works["following callers"] = partial(secret.callers.follow, admit)
        tasks = [asyncio.create_task(keep_going(what, work)) for what, work in works.items()]
        await self._ending.wait()
        log.info("draining")
        for task in tasks:
            task.cancel()

    @asynccontextmanager
    async def _control(
        self, director: Director, keeper: Keeper, commander: Commander, secret: Secrets
    ) -> AsyncIterator[ControlServer]:
        """The control service; it listens, and takes calls once it is started.

        gRPC takes a while to import, so that happens while the workers start.
        """
        make_server, make_servicer, make_overseer = await asyncio.to_thread(_control_classes)
        settings, operator = self._settings, Operator(director, self._archive, utc_now, new_rollout_id)
        servicer = make_servicer(operator, director, keeper.refresh, make_overseer(commander, director))
        host, port = settings.control_host, settings.control_port
        control = make_server(servicer, host, port, tls=secret.tls, access=secret.access)
        try:
            yield control
        finally:
            await control.stop(grace_s=0.5)

    def _announce(self, addresses: dict[str, str]) -> None:
        if self._settings.ready_file is not None:
            write_ready_file(self._settings.ready_file, json.dumps(addresses).encode())
        log.info("serving", extra=addresses)
        self._on_ready(addresses)

    def _shown(self, port: int) -> str:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"{host}:{port}"

    def _readiness(self, director: Director) -> tuple[bool, str]:
        """Whether every worker answers, and in words what ails any policy beside that."""
        ready, wanted = director.fleet.ready, director.fleet.size
        lines = [f"{ready} of {wanted} workers answer"]
        lines += [f"{problem.policy}: {problem}" for problem in director.plan.problems]
        if (since := self._archive.away_since) is not None:
            lines.append(f"the store cannot be used since {since:%Y-%m-%dT%H:%M:%SZ}; serving goes on")
        return ready == wanted and not self._ending.is_set(), "\n".join(lines)


def _check_loaded(fleet: Fleet) -> None:
    """A server that can answer for no policy has not started."""
    for routed in fleet.routed():
        if not routed.lanes:
            failure = routed.failures[0]
            where = f"{failure.policy} version {failure.version}"
            raise ServingError(failure.message, where=where, hint="No policy can be served.")


def _control_classes() -> tuple[type[ControlServer], type[ControlServicer], type[Overseer]]:
    from steersman.serving.control.overseer import Overseer  # noqa: PLC0415
    from steersman.serving.control.server import ControlServer  # noqa: PLC0415
    from steersman.serving.control.servicer import ControlServicer  # noqa: PLC0415

    return ControlServer, ControlServicer, Overseer


def new_rollout_id() -> str:
    """A random id, so that no two rollouts pick the same episodes."""
    return secrets.token_hex(ROLLOUT_ID_BYTES)


def run_server(settings: ServerSettings, on_ready: Callable[[dict[str, str]], None] = lambda _: None) -> None:
    """Runs a server in this process until it is told to end."""

    async def run() -> None:
        await Supervisor(settings, on_ready).run()

    asyncio.run(run())
