"""From a repository and deployments to a routing snapshot: which version runs in which lane.

What ails one policy never keeps another from being served: a policy whose bundle cannot be trusted is in the
snapshot without lanes, with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from steersman.bundle.errors import SteersmanError, UsageError
from steersman.bundle.repository import Repository
from steersman.bundle.signature import ASK_NOBODY, Trust
from steersman.monitoring.blocks import Allocator, PlacedBlock
from steersman.safety.members import Aids
from steersman.serving.clock import Clock, utc_now
from steersman.serving.counting import block_spec
from steersman.serving.errors import ServingError
from steersman.serving.planning.catalog import Catalog
from steersman.serving.planning.plan import Before, Plan, PlannedLane, Problem
from steersman.serving.planning.policy_planning import PolicyPlanner
from steersman.serving.rollout.deployment import Deployment
from steersman.serving.rollout.snapshot import PolicyRoute, RoutingSnapshot
from steersman.serving.rollout.state import DeploymentState

__all__ = ["Before", "Plan", "PlannedLane", "Planner", "Problem"]

log = logging.getLogger(__name__)
NOTHING_BEFORE = Before()
DEFECT = "a defect was met while reading it; the server's log has the details"


class Planner:
    """Makes plans for one repository. One thread at a time.

    Args:
        root: The repository's folder.
        deployments: By policy, for policies of which `plan` is told no state.
        policies: Policies to serve; empty means all.
        allocator: Chooses where to count.
        trust: Whose signatures are asked for.
        aids: What members of fallback chains may call.
        clock: What time it is.
        grace_s: Seconds that a closed lane stays for the episodes that it has.

    Raises:
        UsageError: The repository is not there, or a policy asked for is not in it.
    """

    def __init__(
        self,
        root: Path,
        deployments: Mapping[str, Deployment],
        policies: Sequence[str],
        allocator: Allocator,
        trust: Trust = ASK_NOBODY,
        *,
        aids: Aids | None = None,
        clock: Clock = utc_now,
        grace_s: float = 600.0,
    ) -> None:
        self.catalog = Catalog(Repository(root.resolve()), trust)
        self._given = {name: DeploymentState(deployment=found) for name, found in deployments.items()}
        self._asked = tuple(policies)
        self._allocator = allocator
        self._aids = aids or Aids()
        self.clock = clock
        self._grace_s = grace_s
        _check_served(self.catalog.repository, deployments, policies)

    def plan(
        self,
        generation: int,
        states: Mapping[str, DeploymentState] | None = None,
        before: Before = NOTHING_BEFORE,
        *,
        look: bool = True,
    ) -> Plan:
        """What is to run now.

        Args:
            generation: Number of the snapshot.
            states: Deployments in force, by policy; policies without one run their newest version.
            before: What this plan follows on.
            look: Whether to read the repository as it is now, or to keep to what it held at the last look.
        """
        if look:
            self.catalog.look()
        known = {**self._given, **(states or {})}
        routes: list[PolicyRoute] = []
        lanes: list[PlannedLane] = []
        problems: list[Problem] = []
        failures: dict[str, SteersmanError] = {}
        for name in self._served(known, before):
            state = known.get(name) or DeploymentState(deployment=Deployment(policy=name))
            planner = self._planner(state, before, self._allocator)
            try:
                routes.append(planner.plan())
                lanes += planner.lanes
            except SteersmanError as error:
                failures[name] = error
                routes.append(self._broken(planner, error))
            except Exception:
                log.exception("defect while planning", extra={"policy": name})
                failures[name] = ServingError(DEFECT, where=name)
                routes.append(self._broken(planner, failures[name]))
            problems += planner.problems
        snapshot = RoutingSnapshot(
            generation=generation,
            created=self.clock(),
            repository=str(self.catalog.repository.root),
            policies=tuple(routes),
        )
        return Plan(snapshot, tuple(lanes), failures, tuple(problems))

    def check(self, state: DeploymentState, before: Before = NOTHING_BEFORE) -> tuple[PlannedLane, ...]:
        """The lanes that a deployment would give. Nothing is changed; no counters are placed.

        Raises:
            SteersmanError: A version that it names is not there, is not what was published, does not fit the
                others or the settings, or there is no room to count for it.
        """
        self.catalog.look()
        planner = self._planner(state, before, self._allocator.trial(), strict=True)
        planner.plan()
        return tuple(planner.lanes)

    @property
    def placed(self) -> tuple[PlacedBlock, ...]:
        """Every block that lanes ever counted in, oldest first."""
        return self._allocator.placed

    def serves(self, policy: str) -> bool:
        """Whether the policy is one to be served, and there."""
        wanted = not self._asked or policy in self._asked
        return wanted and policy in self.catalog.policies()

    def newest(self, policy: str) -> int:
        """The policy's newest version; 0 where it has none.

        Raises:
            BundleNotFoundError: The folder cannot be read.
        """
        return max(self.catalog.versions(policy), default=0)

    def recall(self, snapshot: RoutingSnapshot) -> Before:
        """What an earlier run served, as far as the bundles are still the same.

        Its lanes drain where they are closed now, and what answered in them counts as proven.
        """
        lanes = [lane for route in snapshot.policies for lane in self._recalled(route)]
        proven = [lane for lane in lanes if lane.route.role != "draining"]
        return Before(lanes, proven, labels={route.policy: route.labels for route in snapshot.policies})

    def _recalled(self, route: PolicyRoute) -> list[PlannedLane]:
        found = []
        for lane in route.lanes:
            try:
                checked = self.catalog.version(route.policy, lane.version)
                if checked.digest == lane.digest:
                    spec = block_spec(checked.manifest, lane.lane, checked.references, route.safety)
                    placed = lane.model_copy(update={"block": self._allocator.place(spec)})
                    found.append(PlannedLane(route.policy, placed, checked))
            except SteersmanError as error:
                why = {"policy": route.policy, "version": lane.version, "why": str(error)}
                log.warning("version of the last run is gone", extra=why)
        return found

    def _planner(
        self, state: DeploymentState, before: Before, allocator: Allocator, *, strict: bool = False
    ) -> PolicyPlanner:
        before = before.of(state.policy)
        return PolicyPlanner(
            self.catalog,
            allocator,
            state,
            before,
            self.clock(),
            self._grace_s,
            strict=strict,
            aids=self._aids,
        )

    def _served(self, known: Mapping[str, DeploymentState], before: Before) -> list[str]:
        """Policies on disk, and those that were served or are deployed, whatever became of their folder."""
        there = {*self.catalog.policies(), *known, *(lane.policy for lane in before.lanes)}
        return sorted(name for name in there if not self._asked or name in self._asked)

    def _broken(self, planner: PolicyPlanner, error: SteersmanError) -> PolicyRoute:
        if not planner.problems:
            planner.problems.append(Problem.of(error, planner.state.policy, 0, "stable"))
        planner.lanes.clear()
        return planner.route()


def _check_served(repository: Repository, deployed: Mapping[str, Deployment], asked: Sequence[str]) -> None:
    if not repository.root.is_dir():
        raise UsageError(
            "no such folder",
            where=str(repository.root),
            expected="a repository of bundles",
            hint="See steersman export.",
        )
    there = repository.policies()
    missing = [name for name in (*deployed, *asked) if name not in there]
    if missing or not there:
        raise UsageError(
            f"there is no policy {missing[0]!r}" if missing else "there are no bundles",
            where=str(repository.root),
            expected=f"one of {list(there)}" if there else "<policy>/<version>/manifest.json",
            hint=None if there else "See steersman export.",
        )
