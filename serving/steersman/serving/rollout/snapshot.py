"""The routing snapshot: all that a worker needs to know to route and protect, immutable and numbered.

The supervisor makes it, hands it to every worker, and keeps the last one as a file. A worker swaps to it as a
whole or, policy by policy, stays with what it had.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from steersman.bundle.manifest import PolicyName, Sha256
from steersman.bundle.specs import Spec
from steersman.monitoring.blocks import PlacedBlock
from steersman.safety.settings import SafetySettings
from steersman.serving.rollout.deployment import Precision


class LaneRoute(Spec):
    """A version in a lane.

    Attributes:
        lane: Name of the lane.
        version: Version that runs in it.
        digest: Digest of its manifest; another one is another bundle.
        share: Share of the episodes that are assigned to it, 0 to 1.
        block: What to count for it, and where in the worker's slot.
    """

    lane: str
    version: int
    digest: Sha256
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    block: PlacedBlock


class VersionInfo(Spec):
    """A version that is there, whether it runs or not. `detail` says why it failed, without paths."""

    version: int
    state: Literal["available", "routed", "failed"]
    detail: str = ""
    digest: str = ""
    created_unix_nanos: int = 0


class PolicyRoute(Spec):
    """A policy: its lanes, its safety settings, and the versions on disk, newest first."""

    policy: PolicyName
    lanes: tuple[LaneRoute, ...]
    versions: tuple[VersionInfo, ...] = ()
    safety: SafetySettings = SafetySettings()
    precision: Precision = "auto"


class RoutingSnapshot(Spec):
    """See the module. `generation` grows by one with each snapshot."""

    schema_version: Literal[1] = 1
    generation: Annotated[int, Field(ge=0)]
    created: AwareDatetime
    repository: str
    policies: tuple[PolicyRoute, ...] = ()
