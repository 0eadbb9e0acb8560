"""The routing table: a snapshot together with what was loaded for it. Immutable; swapped as a whole."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from steersman.serving.deciding.batch import CallChecker
from steersman.serving.deciding.runtime import LaneRuntime
from steersman.serving.errors import CallError, Code
from steersman.serving.rollout.assignment import BUCKETS, bucket
from steersman.serving.rollout.snapshot import PolicyRoute


class PolicyRuntime:
    """A policy as it is served now.

    Args:
        route: What the snapshot says.
        lanes: Lanes that are loaded, the stable one first; empty when nothing could be loaded.
        failures: Why a version could not be loaded, by version.
    """

    def __init__(
        self,
        route: PolicyRoute,
        lanes: Iterable[LaneRuntime],
        failures: Mapping[int, str] | None = None,
    ) -> None:
        self.route = route
        self.lanes = tuple(lanes)
        self.failures = failures or {}
        self.name = route.policy
        self.rollout_id = route.rollout_id
        answering = [lane for lane in self.lanes if lane.role != "shadow"]
        self.shadow = next((lane for lane in self.lanes if lane.role == "shadow"), None)
        self._by_version = {lane.version: lane for lane in reversed(answering)}
        going_on = [lane for lane in answering if lane.role != "pinned"]
        self._by_bundle = {lane.bundle: lane for lane in reversed(going_on)}
        self._by_token = {(lane.bundle, lane.hash): lane for lane in reversed(answering)}
        self._ranges = _ranges(answering)
        self._shares = _shares(answering)
        self._undivided = len(self._ranges) <= 1 and sum(lane.role == "open" for lane in answering) <= 1

    @property
    def stable(self) -> LaneRuntime:
        """The lane that answers whatever no other does."""
        return self.lanes[0]

    @property
    def checker(self) -> CallChecker:
        """What checks its calls; all versions that are routed share their specs."""
        return self.lanes[0].loaded.checker

    def of_bucket(self, number: int) -> LaneRuntime:
        """The lane of an episode by its bucket; the stable one where no lane has it."""
        place = bisect_right(self._ranges, number, key=lambda found: found[0]) - 1
        if place >= 0 and number < self._ranges[place][1]:
            return self._ranges[place][2]
        return self.stable

    def of_episode(self, episode_id: str) -> LaneRuntime:
        """The lane that an episode is assigned to."""
        return self.stable if self._undivided else self.of_bucket(bucket(self.rollout_id, episode_id))

    def share_of(self, lane: LaneRuntime) -> float:
        """Probability that an episode is assigned to the lane."""
        return self._shares.get(lane.lane, 1.0)

    def of_token(self, bundle: bytes, lane: int) -> LaneRuntime | None:
        """Where an episode goes on: in its lane, or else in another one of its version, if there is one."""
        return self._by_token.get((bundle, lane)) or self._by_bundle.get(bundle)

    def of_version(self, version: int) -> LaneRuntime | None:
        """A lane that runs the version and may answer; None where there is none."""
        return self._by_version.get(version)

    def asked_for(self, version: int, label: str) -> LaneRuntime | None:
        """The lane that runs the version that a call asks for; None where it does not ask.

        Raises:
            CallError: That version is not served.
        """
        if not version and not label:
            return None
        if version and label:
            message = "version and version_label are both given; expected one of them"
            raise CallError(Code.INVALID_ARGUMENT, "version", message)
        if label:
            return self._labelled(label)
        lane = self._by_version.get(version)
        if lane is None:
            loaded = sorted(self._by_version)
            message = f"policy {self.name!r} does not serve version {version}; expected one of {loaded}, or 0"
            raise CallError(Code.NOT_FOUND, "version_not_found", message)
        return lane

    def _labelled(self, label: str) -> LaneRuntime:
        lane = self._by_version.get(self.route.labels.get(label, 0))
        if lane is None:
            served = sorted(name for name, v in self.route.labels.items() if v in self._by_version)
            message = f"policy {self.name!r} serves no label {label[:64]!r}; expected one of {served}"
            raise CallError(Code.NOT_FOUND, "label_not_found", message)
        return lane


def _ranges(lanes: Iterable[LaneRuntime]) -> list[tuple[int, int, LaneRuntime]]:
    """Buckets of every lane but the stable one, in their order."""
    others = [lane for lane in lanes if lane.role == "open" and lane.lane != "stable"]
    found = [(*lane.buckets, lane) for lane in others if lane.buckets[0] < lane.buckets[1]]
    return sorted(found, key=lambda item: item[0])


def _shares(lanes: Iterable[LaneRuntime]) -> dict[str, float]:
    """Share of the episodes by lane; the stable one has what the others leave."""
    shares = {lane.lane: (end - first) / BUCKETS for first, end, lane in _ranges(lanes)}
    return {**shares, "stable": 1.0 - sum(shares.values())}


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Policies by name, and the generation of the snapshot that they come from."""

    generation: int = -1
    policies: Mapping[str, PolicyRuntime] = field(default_factory=dict)

    def policy(self, name: str) -> PolicyRuntime:
        """The policy.

        Raises:
            CallError: There is no such policy.
        """
        runtime = self.policies.get(name)
        if runtime is None:
            known = ", ".join(sorted(self.policies)[:16]) or "none"
            message = f"policy {name[:64]!r} is not served here; expected one of: {known}"
            raise CallError(Code.NOT_FOUND, "policy_not_found", message)
        return runtime

    def ready(self, name: str) -> PolicyRuntime:
        """The policy, if it can answer.

        Raises:
            CallError: There is no such policy, or none of its versions could be loaded.
        """
        runtime = self.policy(name)
        if not runtime.lanes:
            message = f"policy {name!r} has no version that could be loaded"
            raise CallError(Code.UNAVAILABLE, "policy_not_ready", message)
        return runtime
