"""Planning one policy: its deployment, the versions on disk and what ran before become lanes.

A version that is wanted and refused never takes down what serves: its lane stays as it was, and why is in the
problems. A change that people ask for is planned strictly instead: what it names must be there and fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from steersman.bundle.errors import BundleNotFoundError, SteersmanError
from steersman.bundle.specs import Contract, specs_difference
from steersman.monitoring.blocks import Allocator, PlacedBlock
from steersman.safety.checking import check_safety
from steersman.safety.members import Aids
from steersman.serving.counting import block_spec
from steersman.serving.planning.catalog import Catalog, CheckedVersion
from steersman.serving.planning.lanes import NO_BUCKETS, WantedLane, pinned_lanes, rollout_lanes, stable_lane
from steersman.serving.planning.plan import Before, PlannedLane, Problem, public
from steersman.serving.rollout.deployment import PINNED, SHADOW, STABLE, Deployment
from steersman.serving.rollout.errors import ChangeRefusedError
from steersman.serving.rollout.snapshot import LaneRoute, PolicyRoute, VersionInfo
from steersman.serving.rollout.state import DeploymentState


@dataclass(slots=True)
class PolicyPlanner:
    """Plans one policy once.

    Attributes:
        catalog: The versions on disk.
        allocator: Chooses where to count.
        state: What is wanted.
        before: What ran before, of this policy.
        now: The time.
        grace_s: Seconds that closed lanes drain.
        strict: Whether a version that was named and cannot be had is an error.
        aids: What members of fallback chains may call.
        lanes: What has been planned.
        problems: What could not be.
        labels: Versions by label, as they are in force.
    """

    catalog: Catalog
    allocator: Allocator
    state: DeploymentState
    before: Before
    now: datetime
    grace_s: float
    strict: bool = False
    aids: Aids = field(default_factory=Aids)
    lanes: list[PlannedLane] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    labels: Mapping[str, int] = field(default_factory=dict)

    def plan(self) -> PolicyRoute:
        """The policy's route; its lanes and problems are then in `lanes` and `problems`.

        Raises:
            SteersmanError: There is no version for the stable lane, or, strictly, for one that was named.
        """
        stable = self._lane(stable_lane(self._deployment), None)
        if stable is None:
            raise self._none()
        self.lanes.append(stable)
        number = stable.route.version
        for wanted in rollout_lanes(self._deployment, number):
            self._add(wanted, stable.contract)
        answering = frozenset(lane.route.version for lane in self.lanes if lane.answers)
        self.labels = self._labels(stable.contract)
        labelled = self._deployment.model_copy(update={"labels": self.labels})
        for wanted in pinned_lanes(labelled, self._there(), answering):
            self._add(wanted, stable.contract)
        self.lanes += self._draining(stable.contract)
        return self.route()

    def route(self) -> PolicyRoute:
        """What the workers are told."""
        deployment = self._deployment
        has_shadow = any(lane.route.lane == SHADOW for lane in self.lanes)
        return PolicyRoute(
            policy=self._policy,
            lanes=tuple(lane.route for lane in self.lanes),
            rollout_id=self.state.rollout_id,
            versions=tuple(self._versions()),
            labels=self.labels,
            safety=deployment.safety,
            precision=deployment.precision,
            batching=deployment.batching,
            overload=deployment.overload,
            shadow=deployment.lanes.shadow if has_shadow else None,
        )

    @property
    def _deployment(self) -> Deployment:
        return self.state.deployment

    @property
    def _policy(self) -> str:
        return self.state.policy

    def _there(self) -> tuple[int, ...]:
        try:
            return self.catalog.versions(self._policy)
        except BundleNotFoundError:
            return ()

    def _add(self, wanted: WantedLane, contract: Contract) -> None:
        lane = self._lane(wanted, contract)
        if lane is not None:
            self.lanes.append(lane)

    def _lane(self, wanted: WantedLane, contract: Contract | None) -> PlannedLane | None:
        """The lane with the version it wants, or else as it was before; None where there is neither."""
        try:
            return self._placed(wanted, self._wanted(wanted, contract))
        except SteersmanError as error:
            if self.strict and wanted.asked:
                raise
            version = wanted.version if isinstance(wanted.version, int) else 0
            self._note(error, version, wanted.name)
            if wanted.name == STABLE and self._proven(wanted.name) is None:
                raise
        kept = self._proven(wanted.name)
        if kept is None or (contract is not None and specs_difference(contract, kept.contract)):
            return None
        return self._placed(wanted, kept.checked)

    def _wanted(self, wanted: WantedLane, contract: Contract | None) -> CheckedVersion:
        if isinstance(wanted.version, int):
            return self._fitting(wanted.version, contract, shadow=wanted.role == "shadow")
        return self._newest(wanted, contract)

    def _labels(self, contract: Contract) -> dict[str, int]:
        """Labels move to versions that are fit; one whose new version is refused stays where it answered."""
        labels: dict[str, int] = {}
        last = self.before.labels.get(self._policy, {})
        for label, version in self._deployment.labels.items():
            try:
                self._fitting(version, contract, shadow=False)
                labels[label] = version
            except SteersmanError as error:
                if self.strict:
                    raise
                self._note(error, version, PINNED)
                labels |= {label: last[label]} if label in last else {}
        return labels

    def _newest(self, wanted: WantedLane, contract: Contract | None) -> CheckedVersion:
        """The newest version that fits, but none before the one that is known to answer.

        A version that has other specs than what serves is for people to name: callers would notice.
        """
        proven = self._proven(wanted.name)
        contract = contract or (proven.contract if proven else None)
        first: SteersmanError | None = None
        for number in reversed(self._there()):
            if proven is not None and number < proven.route.version:
                break
            try:
                return self._fitting(number, contract, shadow=wanted.role == "shadow")
            except SteersmanError as error:
                first = first or error
                self._note(error, number, wanted.name)
        if proven is not None:
            return proven.checked
        raise first or self._none()

    def _fitting(self, number: int, contract: Contract | None, *, shadow: bool) -> CheckedVersion:
        found = self.catalog.version(self._policy, number)
        theirs = found.manifest.contract
        if contract is not None and (difference := specs_difference(contract, theirs)):
            raise ChangeRefusedError(
                "specs",
                f"version {number} has other specs than the stable version: {difference}",
                hint="Versions that serve together must observe and act alike.",
            )
        if contract is not None and not shadow and (missing := sorted({*contract.modes} - {*theirs.modes})):
            raise ChangeRefusedError(
                "specs",
                f"version {number} has no mode {missing[0]}, which the stable version offers",
                hint="Versions that serve together must offer the same modes.",
            )
        if shadow and theirs.state:
            raise ChangeRefusedError(
                "shadow_recurrent",
                f"version {number} is recurrent, which a shadow lane cannot run yet",
                hint="Compare it in a canary lane.",
            )
        settings = self._deployment.safety
        reference = found.references.get("greedy")
        check_safety(settings, theirs, reference, self.aids, strict=self.strict)
        return found

    def _placed(self, wanted: WantedLane, checked: CheckedVersion) -> PlannedLane:
        route = LaneRoute(
            lane=wanted.name,
            version=checked.manifest.version,
            digest=checked.digest,
            role=wanted.role,
            buckets=wanted.buckets,
            share=wanted.share,
            block=self._block(wanted.name, checked),
        )
        return PlannedLane(self._policy, route, checked)

    def _block(self, lane: str, checked: CheckedVersion) -> PlacedBlock:
        """Where it counts; another place when constraints or members of the fallback chain have new names."""
        safety = self._deployment.safety
        return self.allocator.place(block_spec(checked.manifest, lane, checked.references, safety))

    def _proven(self, name: str) -> PlannedLane | None:
        if name == "pinned":  # there may be many of that name; one does not stand in for another
            return None
        found = (lane for lane in self.before.proven if lane.route.lane == name)
        return next((lane for lane in found if lane.route.role != "draining"), None)

    def _draining(self, contract: Contract) -> Iterator[PlannedLane]:
        """Lanes that were closed and whose episodes may end there, until their time is over."""
        answering = {lane.route.digest for lane in self.lanes if lane.answers}
        taking = {lane.route.digest for lane in self.lanes if lane.route.role == "open"}
        closed = [
            lane
            for lane in self.before.lanes
            if lane.answers
            and lane.route.digest not in (answering if lane.route.role == "pinned" else taking)
        ]
        cut = {lane.route.digest for lane in closed if self.before.cut and lane.route.ends is None}
        for lane in closed:
            ends = lane.route.ends or self.now + timedelta(seconds=self.grace_s)
            digest = lane.route.digest
            if ends <= self.now or digest in cut or self.catalog.is_refused(digest):
                continue
            if specs_difference(contract, lane.contract):
                continue  # its episodes observe what the policy no longer takes
            changed: dict[str, object] = {
                "role": "draining",
                "buckets": NO_BUCKETS,
                "share": 0.0,
                "ends": ends,
            }
            changed["block"] = self._block(lane.route.lane, lane.checked)
            yield replace(lane, route=lane.route.model_copy(update=changed))

    def _versions(self) -> Iterator[VersionInfo]:
        """Newest first. Only those that were wanted have been read."""
        routed = {lane.route.version: lane.checked for lane in self.lanes}
        failed = {problem.version: problem.message for problem in self.problems}
        for number in sorted({*self._there(), *routed}, reverse=True):
            found = routed.get(number)
            yield VersionInfo(
                version=number,
                state="failed" if number in failed else ("routed" if found else "available"),
                detail=failed.get(number, ""),
                digest=found.digest if found else "",
                created_unix_nanos=int(found.manifest.created.timestamp()) * 10**9 if found else 0,
            )

    def _note(self, error: SteersmanError, version: int, lane: str) -> None:
        known = {(problem.version, problem.message) for problem in self.problems}
        if (version, public(error)) not in known:
            self.problems.append(Problem.of(error, self._policy, version, lane))

    def _none(self) -> SteersmanError:
        root = str(self.catalog.repository.root)
        return BundleNotFoundError(f"policy {self._policy!r} has no version", where=root)
