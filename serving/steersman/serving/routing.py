"""The routing table: a snapshot together with what was loaded for it. Immutable; swapped as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from steersman.serving.errors import CallError, Code
from steersman.serving.rollout.snapshot import PolicyRoute
from steersman.serving.runtime import LaneRuntime


@dataclass(frozen=True, slots=True)
class PolicyRuntime:
    """A policy as it is served now.

    Attributes:
        route: What the snapshot says.
        lanes: Lanes that are loaded, the stable one first; empty when nothing could be loaded.
        failures: Why a version could not be loaded, by version.
    """

    route: PolicyRoute
    lanes: tuple[LaneRuntime, ...]
    failures: Mapping[int, str] = field(default_factory=dict)


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

    def resolve(self, name: str, version: int) -> LaneRuntime:
        """The lane that answers rows of this policy; `version` 0 means the stable lane.

        Raises:
            CallError: No such policy or version, or none of its versions could be loaded.
        """
        runtime = self.policy(name)
        if not runtime.lanes:
            raise CallError(
                Code.UNAVAILABLE, "policy_not_ready", f"policy {name!r} has no version that could be loaded"
            )
        if version == 0:
            return runtime.lanes[0]
        for lane in runtime.lanes:
            if lane.version == version:
                return lane
        loaded = sorted({lane.version for lane in runtime.lanes})
        message = f"policy {name!r} does not serve version {version}; expected one of {loaded}, or 0"
        raise CallError(Code.NOT_FOUND, "version_not_found", message)
