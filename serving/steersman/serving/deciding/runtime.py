"""A version that has been loaded, and a lane that it runs in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.manifest import Manifest
from steersman.bundle.reference import Reference
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import Contract
from steersman.monitoring.recorder import Recorder
from steersman.safety.breaker import Breaker
from steersman.safety.room import roomy_limits
from steersman.safety.safeguards import Safeguards
from steersman.serving.deciding.batch import CallChecker
from steersman.serving.rollout.deployment import Precision
from steersman.serving.rollout.snapshot import LaneRoute, Role
from steersman.serving.rollout.tokens import HASH_BYTES, lane_hash

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A version of a policy, verified and ready to run.

    Attributes:
        manifest: Its manifest.
        digest: Digest of the manifest.
        variant: Variant in use, `fp32` or `int8`.
        session: That variant.
        checker: Checks calls against its contract.
        references: What to measure drift against, by mode.
        benign: One harmless row per observation tensor, by graph input name; stands in for guarded rows.
        dropped: Variants that failed their certificate here, with the reason.
        precision: What was asked for when the variant was chosen.
        timings: Seconds that the variant takes on this host, by number of rows; empty where not measured.
    """

    manifest: Manifest
    digest: str
    variant: str
    session: PolicySession
    checker: CallChecker
    references: Mapping[str, Reference]
    benign: Mapping[str, Array]
    dropped: Mapping[str, str] = field(default_factory=dict)
    precision: Precision = "auto"
    timings: Mapping[int, float] = field(default_factory=dict)

    @property
    def contract(self) -> Contract:
        """Its contract."""
        return self.manifest.contract


@dataclass(frozen=True, slots=True)
class LaneRuntime:
    """A loaded version in a lane, with all that protects and counts its decisions.

    Attributes:
        route: What the snapshot says of it.
        loaded: The version that runs in it.
        safeguards: What protects its decisions.
        recorder: Counts.
        named_features: Whether observations are few enough to be guarded and counted feature by feature.
        breaker: Whether the version may be asked; None where it always may.
        lane: Name of the lane.
        hash: The name, as tokens have it.
        bundle: First 16 bytes of the manifest's digest, as tokens have it.
        recurrent: Whether the version keeps state between the steps of an episode.
        contract: Contract of the version.
        version: Its number.
        limits: Lowest and highest action that a model may give, [*shape] each; None for choices.
        apart: Whether nobody gets its answers, so that nothing is kept from it or changed.
    """

    route: LaneRoute
    loaded: LoadedVersion
    safeguards: Safeguards
    recorder: Recorder
    named_features: bool
    breaker: Breaker | None = None
    lane: str = field(init=False)
    hash: int = field(init=False)
    bundle: bytes = field(init=False)
    recurrent: bool = field(init=False)
    contract: Contract = field(init=False)
    version: int = field(init=False)
    apart: bool = field(init=False)
    limits: tuple[Array, Array] | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lane", self.route.lane)
        object.__setattr__(self, "hash", lane_hash(self.route.lane))
        object.__setattr__(self, "bundle", bytes.fromhex(self.loaded.digest)[:HASH_BYTES])
        object.__setattr__(self, "contract", self.loaded.contract)
        object.__setattr__(self, "version", self.loaded.manifest.version)
        object.__setattr__(self, "limits", roomy_limits(self.loaded.contract.action))
        object.__setattr__(self, "apart", self.route.role == "shadow")
        object.__setattr__(self, "recurrent", bool(self.loaded.contract.state))

    @property
    def role(self) -> Role:
        """What the lane is for."""
        return self.route.role

    @property
    def buckets(self) -> tuple[int, int]:
        """Its buckets of the assignment, [first, end)."""
        return self.route.buckets


def zero_actions(contract: Contract, rows: int) -> Array:
    """[rows, *action shape] zeros of the action's type."""
    return np.zeros((rows, *contract.action.shape), np.dtype(contract.action.dtype))
