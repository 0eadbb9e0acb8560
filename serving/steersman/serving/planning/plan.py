"""What a plan is: the snapshot for the workers, and what the supervisor shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steersman.bundle.errors import BundleCorruptError, BundleNotFoundError, SteersmanError, UsageError
from steersman.bundle.reference import Reference
from steersman.bundle.signature import SignatureError
from steersman.bundle.specs import Contract
from steersman.monitoring.blocks import PlacedBlock
from steersman.monitoring.errors import CountersFullError
from steersman.serving.planning.catalog import CheckedVersion, DamagedVersionError, UnloadableError
from steersman.serving.rollout.errors import ChangeRefusedError
from steersman.serving.rollout.snapshot import LaneRoute, RoutingSnapshot

REFUSALS = ("content", "signature", "missing", "specs", "settings", "counters", "workers", "other")
"""Why a version is refused, as metrics say it."""


@dataclass(frozen=True, slots=True)
class PlannedLane:
    """A lane with the version that runs in it."""

    policy: str
    route: LaneRoute
    checked: CheckedVersion

    @property
    def placed(self) -> PlacedBlock:
        """What is counted for it, and where."""
        return self.route.block

    @property
    def contract(self) -> Contract:
        """Contract of its version."""
        return self.checked.manifest.contract

    @property
    def references(self) -> Mapping[str, Reference]:
        """What drift is measured against, by mode."""
        return self.checked.references

    @property
    def answers(self) -> bool:
        """Whether calls can come to it."""
        return self.route.role != "shadow"


@dataclass(frozen=True, slots=True)
class Problem:
    """A version that a deployment wants and cannot have.

    Attributes:
        policy: The policy.
        version: The version; 0 where none could be found.
        lane: Lane that wants it.
        kind: One of `REFUSALS`.
        message: Why, for people; without paths.
    """

    policy: str
    version: int
    lane: str
    kind: str
    message: str

    @classmethod
    def of(cls, error: SteersmanError, policy: str, version: int, lane: str) -> Problem:
        """The problem that an error is."""
        return cls(policy, version, lane, refusal(error), public(error))

    def __str__(self) -> str:
        return f"{self.lane}: version {self.version}: {self.message}" if self.version else self.message


@dataclass(frozen=True, slots=True)
class Plan:
    """A snapshot, the lanes in it, why policies were left out, and what else ails them."""

    snapshot: RoutingSnapshot
    lanes: tuple[PlannedLane, ...]
    failures: Mapping[str, SteersmanError]
    problems: tuple[Problem, ...] = ()

    @property
    def generation(self) -> int:
        """Number of the snapshot."""
        return self.snapshot.generation

    def of(self, policy: str) -> tuple[PlannedLane, ...]:
        """The lanes of a policy."""
        return tuple(lane for lane in self.lanes if lane.policy == policy)


@dataclass(frozen=True, slots=True)
class Before:
    """What a plan follows on.

    Attributes:
        lanes: The lanes of the last plan; those that are closed drain.
        proven: Lanes that workers have answered in; they stay where what is wanted instead is refused.
        cut: Policies whose closed lanes do not drain.
        labels: By policy and label, the version that last answered under it.
    """

    lanes: Sequence[PlannedLane] = ()
    proven: Sequence[PlannedLane] = ()
    cut: frozenset[str] = field(default_factory=frozenset)
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def of(self, policy: str) -> Before:
        """The same, of one policy."""
        return Before(
            tuple(lane for lane in self.lanes if lane.policy == policy),
            tuple(lane for lane in self.proven if lane.policy == policy),
            self.cut & {policy},
            {policy: self.labels.get(policy, {})},
        )


def refusal(error: SteersmanError) -> str:
    """Which of `REFUSALS` an error is."""
    if isinstance(error, ChangeRefusedError):
        return error.reason if error.reason in REFUSALS else "other"
    kinds: dict[type[SteersmanError], str] = {
        SignatureError: "signature",
        BundleNotFoundError: "missing",
        BundleCorruptError: "content",
        CountersFullError: "counters",
        UnloadableError: "workers",
        UsageError: "settings",
    }
    return next((name for kind, name in kinds.items() if isinstance(error, kind)), "other")


def public(error: SteersmanError) -> str:
    """What callers may read of an error: `where` and hints of bundles are paths, so those stay out."""
    if isinstance(error, (UsageError, ChangeRefusedError, DamagedVersionError)):
        return str(error)
    if isinstance(error, BundleNotFoundError) and error.expected:
        return f"{error.what}; expected {error.expected}"
    return error.what
