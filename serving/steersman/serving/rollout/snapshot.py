"""The routing snapshot: all that a worker needs to know to route and protect, immutable and numbered.

The supervisor makes it, hands it to every worker, and keeps the last one as a file. A worker swaps to it as a
whole or, policy by policy, stays with what it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from steersman.bundle.manifest import PolicyName, Sha256
from steersman.bundle.specs import Spec
from steersman.monitoring.blocks import PlacedBlock
from steersman.safety.settings import SafetySettings
from steersman.serving.rollout.deployment import BatchingSettings, Precision, ShadowSettings

Role = Literal["open", "shadow", "pinned", "draining"]
"""What a lane is for. `open` takes episodes. `shadow` decides beside the others and is never answered.
`pinned` answers only calls that ask for its version. `draining` takes no new episodes."""


class LaneRoute(Spec):
    """A version in a lane.

    Attributes:
        lane: Name of the lane.
        version: Version that runs in it.
        digest: Digest of its manifest; another one is another bundle.
        role: What the lane is for.
        buckets: The buckets [first, end) of the assignment that are its episodes, of 2^32; empty for none.
        share: Share of the episodes that are assigned to it, 0 to 1; for a shadow the share of decisions.
        ends: When a draining lane is let go; None for the others.
        block: What to count for it, and where in the worker's slot.
    """

    lane: str
    version: int
    digest: Sha256
    role: Role = "open"
    buckets: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(le=2**32)]] = (0, 2**32)
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    ends: AwareDatetime | None = None
    block: PlacedBlock


class VersionInfo(Spec):
    """A version that is there, whether it runs or not. `detail` says why it failed, without paths."""

    version: int
    state: Literal["available", "routed", "failed"]
    detail: str = ""
    digest: str = ""
    created_unix_nanos: int = 0


class PolicyRoute(Spec):
    """A policy.

    Attributes:
        policy: Its name.
        lanes: Its lanes; the first one, `stable`, answers whatever no other does.
        rollout_id: Salt of the assignment of episodes to lanes.
        versions: The versions on disk, newest first.
        labels: Versions by label.
        safety: Guard and fallback.
        precision: Variant to run.
        batching: Where and how the model is run.
        overload: What happens to rows for which there is no room.
        shadow: How the shadow lane is compared; None where there is none.
    """

    policy: PolicyName
    lanes: tuple[LaneRoute, ...]
    rollout_id: str = ""
    versions: tuple[VersionInfo, ...] = ()
    labels: Mapping[str, int] = {}
    safety: SafetySettings = SafetySettings()
    precision: Precision = "auto"
    batching: BatchingSettings = BatchingSettings()
    overload: Literal["fallback", "reject"] = "fallback"
    shadow: ShadowSettings | None = None


class RoutingSnapshot(Spec):
    """See the module. `generation` grows by one with each snapshot."""

    schema_version: Literal[1] = 1
    generation: Annotated[int, Field(ge=0)]
    created: AwareDatetime
    repository: str
    policies: tuple[PolicyRoute, ...] = ()
