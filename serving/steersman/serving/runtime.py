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
from steersman.safety.fallback import FallbackChain
from steersman.safety.guard import Guard
from steersman.serving.batch import CallChecker

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
    """

    manifest: Manifest
    digest: str
    variant: str
    session: PolicySession
    checker: CallChecker
    references: Mapping[str, Reference]
    benign: Mapping[str, Array]
    dropped: Mapping[str, str] = field(default_factory=dict)

    @property
    def contract(self) -> Contract:
        """Its contract."""
        return self.manifest.contract


@dataclass(frozen=True, slots=True)
class LaneRuntime:
    """A loaded version in a lane, with all that protects and counts its decisions.

    Attributes:
        lane: Name of the lane.
        loaded: The version that runs in it.
        guard: Judges observations.
        fallback: Answers when the policy may not.
        recorder: Counts.
        share: Probability that an episode is assigned to this lane.
        named_features: Whether observations are few enough to be guarded and counted feature by feature.
    """

    lane: str
    loaded: LoadedVersion
    guard: Guard
    fallback: FallbackChain
    recorder: Recorder
    share: float
    named_features: bool

    @property
    def version(self) -> int:
        """Version that runs in the lane."""
        return self.loaded.manifest.version

    @property
    def contract(self) -> Contract:
        """Contract of the version."""
        return self.loaded.contract


def zero_actions(contract: Contract, rows: int) -> Array:
    """[rows, *action shape] zeros of the action's type."""
    return np.zeros((rows, *contract.action.shape), np.dtype(contract.action.dtype))
