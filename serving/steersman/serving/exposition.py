"""What the supervisor exports to Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from steersman.monitoring.collector import SteersmanCollector
from steersman.monitoring.counters import Segment
from steersman.monitoring.series import ServedVersion
from steersman.serving.messages import LoadedLane, Routed
from steersman.serving.planning import Plan, PlannedLane


def make_registry(
    segment: Segment, plan: Callable[[], Plan], routed: Callable[[], Sequence[Routed]]
) -> CollectorRegistry:
    """A registry with the workers' counters, and the supervisor's own process.

    Args:
        segment: The workers' counters.
        plan: Gives the plan in force.
        routed: Gives what each worker last said that it has loaded.
    """
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    registry.register(
        SteersmanCollector(
            segment,
            blocks=lambda: [lane.placed for lane in plan().lanes],
            versions=lambda: served_versions(plan(), routed()),
        )
    )
    return registry


def served_versions(plan: Plan, routed: Sequence[Routed]) -> list[ServedVersion]:
    """The versions that at least one worker has loaded."""
    loaded = {(lane.policy, lane.version): lane for said in routed for lane in said.lanes}
    planned = {(lane.policy, lane.placed.spec.version): lane for lane in plan.lanes}
    return [_served(planned[key], loaded[key]) for key in sorted(loaded.keys() & planned.keys())]


def _served(planned: PlannedLane, loaded: LoadedLane) -> ServedVersion:
    return ServedVersion(
        policy=loaded.policy,
        version=loaded.version,
        variant=loaded.variant,
        digest=loaded.digest,
        contract=planned.contract,
        references=planned.references,
    )
