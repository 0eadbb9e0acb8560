"""A control service without processes: real store, planner, director and gRPC; workers that are told here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import grpc.aio

from steersman.monitoring.blocks import Allocator
from steersman.serving.control.operator import Operator
from steersman.serving.control.overseer import Overseer
from steersman.serving.control.server import ControlServer
from steersman.serving.control.servicer import ControlServicer
from steersman.serving.messages import Failure, LoadedLane, Routed
from steersman.serving.planning.planner import NOTHING_BEFORE, Before, Planner
from steersman.serving.rollout.archive import Archive
from steersman.serving.rollout.snapshot import RoutingSnapshot
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.security.access import AccessList
from steersman.serving.supervising.commanding import Commander
from steersman.serving.supervising.director import Director
from steersman.serving.supervising.fleet import Fleet
from steersman.serving.supervising.following import Follower
from steersman.serving.supervising.keeping import Keeper
from steersman.v1.control_pb2_grpc import ControlServiceStub

if TYPE_CHECKING:
    from steersman.v1.control_pb2_grpc import ControlServiceAsyncStub

START = datetime(2026, 1, 1, tzinfo=UTC)


class ToldFleet:
    """Workers that load at once whatever they are told, but for the versions that they are told to refuse."""

    def __init__(self, size: int = 2) -> None:
        self.size = size
        self.refused: dict[int, str] = {}
        self.slow = 0
        """Workers, counted from the last one, that hear nothing."""
        self.snapshots: list[RoutingSnapshot] = []
        self._routed: list[Routed] = []

    def route(self, snapshot: RoutingSnapshot) -> None:
        self.snapshots.append(snapshot)
        kept = self._routed[self.size - self.slow :]
        self._routed = [self._load(snapshot)] * (self.size - self.slow) + kept

    def routed(self) -> tuple[Routed, ...]:
        return tuple(self._routed)

    def current(self, generation: int) -> int:
        return sum(routed.generation >= generation for routed in self._routed)

    async def obeyed(self, number: int, timeout_s: float) -> bool:
        return number >= 0 and timeout_s >= 0

    def obeying(self, number: int) -> int:
        return self.size if number >= 0 else 0

    async def settled(self, generation: int, timeout_s: float) -> bool:
        return self.current(generation) == self.size

    def _load(self, snapshot: RoutingSnapshot) -> Routed:
        lanes = [(route.policy, lane) for route in snapshot.policies for lane in route.lanes]
        loaded = [
            LoadedLane(
                policy=policy, lane=lane.lane, version=lane.version, variant="fp32", digest=lane.digest
            )
            for policy, lane in lanes
            if lane.version not in self.refused
        ]
        failures = [
            Failure(policy=policy, version=lane.version, message=self.refused[lane.version])
            for policy, lane in lanes
            if lane.version in self.refused
        ]
        return Routed(generation=snapshot.generation, lanes=tuple(loaded), failures=tuple(failures))


class ControlKit:
    """What a supervisor has around its control service."""

    def __init__(
        self,
        bundles: Path,
        folder: Path,
        store: str = "",
        states: Mapping[str, DeploymentState] | None = None,
        before: Before = NOTHING_BEFORE,
    ) -> None:
        self.now = START
        self.fleet = ToldFleet()
        self.kept: list[int] = []
        numbers = count(1)
        self.new_id: Callable[[], str] = lambda: f"r{next(numbers)}"
        self.planner = Planner(bundles, {}, (), Allocator(0, 100_000), clock=lambda: self.now, grace_s=60.0)
        self.director = Director(
            self.planner, lambda plan: self.kept.append(plan.generation), states or {}, before
        )
        self.archive = Archive(store, folder)
        self.operator = Operator(self.director, self.archive, lambda: self.now, self.new_id)
        self.commander = Commander(folder, self.archive, lambda: self.now, dict)
        self.keeper = Keeper(self.director, poll_s=0.0)
        self.follower = Follower(self.director, self.archive)

    async def begin(self) -> None:
        """The workers answer."""
        plan = await self.director.begin()
        self.director.lead(cast("Fleet", self.fleet))
        self.fleet.route(plan.snapshot)
        await self.keeper.settle_first(1.0)

    def lanes(self, policy: str = "toy") -> list[tuple[str, int, str]]:
        """Lane, version and role of what is planned."""
        return [
            (lane.route.lane, lane.route.version, lane.route.role) for lane in self.director.plan.of(policy)
        ]

    @asynccontextmanager
    async def serving(self, access: AccessList | None = None) -> AsyncIterator[ControlServiceAsyncStub]:
        """A client of the control service on a port of its own."""
        servicer = ControlServicer(
            self.operator, self.director, self.keeper.refresh, Overseer(self.commander, self.director)
        )
        server = ControlServer(servicer, "127.0.0.1", 0, tls=None, access=access)
        await server.start()
        try:
            async with asyncio.timeout(60), grpc.aio.insecure_channel(server.address) as channel:
                yield ControlServiceStub(channel)
        finally:
            await server.stop(0.0)
