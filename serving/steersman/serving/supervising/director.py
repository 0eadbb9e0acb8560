"""Which versions run now: the plan in force, kept in step with deployments, the repository and the workers.

Level-triggered: `tick` looks at everything and makes another plan where the present one no longer fits. A
change by people does the same, once it is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from steersman.serving.errors import ServingError
from steersman.serving.messages import Routed
from steersman.serving.planning.planner import Before, Plan, Planner
from steersman.serving.rollout.journal import Stored
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.supervising.fleet import Fleet

log = logging.getLogger(__name__)
KeepPlan = Callable[[Plan], None]
"""Writes the plan's snapshot, and what it was planned from, to the state folder."""
ReadStored = Callable[[], Awaitable[Mapping[str, Stored]]]
"""Reads the deployments in force, by policy, from the store."""


class Director:
    """Owns the plan. Its methods run on one event loop; planning itself on a thread.

    Args:
        planner: Makes plans.
        keep: Keeps the last plan.
        states: Deployments in force, by policy.
        before: What an earlier run served.
        generation: Number of its last snapshot; numbers go on from there.

    Attributes:
        lock: Held while anything is changed.
        states: Deployments in force, by policy.
    """

    def __init__(
        self,
        planner: Planner,
        keep: KeepPlan,
        states: Mapping[str, DeploymentState],
        before: Before,
        generation: int = 0,
    ) -> None:
        self.lock = asyncio.Lock()
        self.states = dict(states)
        self.planner = planner
        self._keep = keep
        self._fleet: Fleet | None = None
        self._lanes = tuple(before.lanes)
        self._proven = {(lane.policy, lane.route.lane): lane for lane in before.proven}
        self._labelled = {policy: dict(labels) for policy, labels in before.labels.items()}
        self._plan: Plan | None = None
        self._generation = generation
        self._news = asyncio.Event()

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        if self._plan is None:
            raise RuntimeError("nothing has been planned yet")
        return self._plan

    @property
    def fleet(self) -> Fleet:
        """The workers."""
        if self._fleet is None:
            raise RuntimeError("there are no workers yet")
        return self._fleet

    def before(self, cut: frozenset[str] = frozenset()) -> Before:
        """What the next plan follows on."""
        return Before(self._lanes, tuple(self._proven.values()), cut, self._labelled)

    async def begin(self, cut: frozenset[str] = frozenset()) -> Plan:
        """Makes the first plan; lanes of the last run that are closed drain, but not of policies in `cut`."""
        self._take(await self._planned(cut, look=True))
        return self.plan

    def lead(self, fleet: Fleet) -> None:
        """Takes the workers over, which were started with the first plan."""
        self._fleet = fleet

    async def replan(self, cut: frozenset[str] = frozenset(), *, look: bool = True) -> bool:
        """Makes another plan and hands it to the workers, unless it is the same. The lock is held.

        Args:
            cut: Policies whose closed lanes do not drain.
            look: Whether to read the repository as it is now.

        Returns:
            Whether there is a new plan.
        """
        made = await self._planned(cut, look=look)
        if made.snapshot.policies == self.plan.snapshot.policies and made.problems == self.plan.problems:
            return False
        self._take(made)
        self.fleet.route(made.snapshot)
        return True

    async def refresh(self, *, forgive: bool = False) -> bool:
        """Looks at the repository. Returns whether there is a new plan.

        Args:
            forgive: Lets versions that workers could not load be tried again.
        """
        async with self.lock:
            if forgive:
                self.planner.catalog.forgive()
            return await self.replan()

    async def review(self) -> bool:
        """Looks at the workers and at draining lanes. Returns whether there is a new plan."""
        async with self.lock:
            refused = self._judge()
            end = self.next_end()
            due = end is not None and end <= self.planner.clock()
            return (refused or due) and await self.replan(look=False)

    async def deploy(self, read: ReadStored) -> bool:
        """Takes over deployments that another host has changed, and cuts the episodes that it has cut.

        Args:
            read: Reads the store. It is called while the lock is held, so what it gives is never older than
                a change that was made here.

        Returns:
            Whether there is a new plan.

        Raises:
            StoreError: The store cannot be read.
        """
        async with self.lock:
            stored = await read()
            moved = {name: found for name, found in stored.items() if self.states.get(name) != found.state}
            if not moved:
                return False
            cut = frozenset(name for name, found in moved.items() if found.cuts_since(self.states.get(name)))
            for name, found in moved.items():
                log.info(
                    "deployment was changed elsewhere",
                    extra={"policy": name, "revision": found.state.revision, "cuts": name in cut},
                )
                self.states[name] = found.state
            return await self.replan(cut)

    def heard(self, slot: int, routed: Routed) -> None:
        """Takes note of what a worker has loaded."""
        for failure in routed.failures:
            why = {"policy": failure.policy, "version": failure.version, "why": failure.message}
            log.error("version refused by worker", extra={"worker": slot, **why})
        self._news.set()

    async def news(self, timeout_s: float) -> None:
        """Waits until a worker says something, or a while."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return
        finally:
            self._news.clear()

    def next_end(self) -> datetime | None:
        """When the next draining lane is let go; None where none drains."""
        ends = [lane.route.ends for lane in self._lanes if lane.route.ends is not None]
        return min(ends, default=None)

    async def _planned(self, cut: frozenset[str], *, look: bool) -> Plan:
        before, states, number = self.before(cut), dict(self.states), self._generation + 1
        return await asyncio.to_thread(lambda: self.planner.plan(number, states, before, look=look))

    def _take(self, made: Plan) -> None:
        for problem in made.problems:
            if self._plan is None or problem not in self._plan.problems:
                why = {"policy": problem.policy, "version": problem.version, "lane": problem.lane}
                log.error("version refused", extra={**why, "why": problem.message})
        for policy, error in made.failures.items():
            if self._plan is None or policy not in self._plan.failures:
                log.error("policy refused", extra={"policy": policy, "why": str(error)})
        self._plan = made
        self._generation = made.generation
        self._lanes = made.lanes
        self.keep()
        log.info("planned", extra={"generation": made.generation, "lanes": len(made.lanes)})

    def keep(self) -> None:
        """Keeps the plan in force. Without that serving goes on, and a start falls back on an older one."""
        try:
            self._keep(self.plan)
        except ServingError as error:
            log.error("the snapshot cannot be kept", extra={"why": str(error)})  # noqa: TRY400

    def _judge(self) -> bool:
        """Learns from the workers: what answers in one is proven, and what no worker could load is refused.

        Returns whether something was refused.
        """
        routed = self.fleet.routed()
        loaded = {(lane.policy, lane.digest) for said in routed for lane in said.lanes}
        for lane in self.plan.lanes:
            if (lane.policy, lane.route.digest) in loaded and lane.route.role != "draining":
                self._proven[lane.policy, lane.route.lane] = lane
        if any(said.generation < self.plan.generation for said in routed):
            return False  # some are still at it
        answering = {(lane.policy, lane.version) for said in routed for lane in said.lanes}
        for route in self.plan.snapshot.policies:
            fit = {label: v for label, v in route.labels.items() if (route.policy, v) in answering}
            self._labelled.setdefault(route.policy, {}).update(fit)
        failed = {(f.policy, f.version): f.message for said in routed for f in said.failures}
        refused = {
            lane.route.digest: failed[lane.policy, lane.route.version]
            for lane in self.plan.lanes
            if (lane.policy, lane.route.version) in failed and (lane.policy, lane.route.digest) not in loaded
        }
        catalog = self.planner.catalog
        news = {digest: why for digest, why in refused.items() if not catalog.is_refused(digest)}
        for digest, why in news.items():
            catalog.refuse(digest, why)
        proven = self._proven.items()
        self._proven = {key: lane for key, lane in proven if lane.route.digest not in refused}
        return bool(news)
