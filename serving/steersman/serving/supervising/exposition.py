"""What the supervisor exports to Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from steersman.monitoring import metrics
from steersman.monitoring.blocks import PlacedBlock
from steersman.monitoring.collector import SteersmanCollector
from steersman.monitoring.counters import Segment
from steersman.monitoring.series import Series, ServedVersion
from steersman.safety.commands import NO_COMMANDS, CommandList
from steersman.serving.clock import unix_nanos
from steersman.serving.messages import LoadedLane, Routed
from steersman.serving.planning.planner import Plan, PlannedLane
from steersman.serving.rollout.archive import Archive
from steersman.serving.supervising.director import Director
from steersman.serving.supervising.exposition_commands import command_series


def make_registry(
    segment: Segment,
    director: Director,
    archive: Archive,
    ordered: Callable[[], CommandList] = lambda: NO_COMMANDS,
) -> CollectorRegistry:
    """A registry with the workers' counters, what is deployed, and the supervisor's own process.

    Args:
        segment: The workers' counters.
        director: Knows the plan in force and the workers.
        archive: Knows whether the store can be used.
        ordered: Gives what people have ordered in place of policies, as the workers were told.
    """
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    registry.register(
        SteersmanCollector(
            segment,
            blocks=lambda: placed_blocks(director.plan, director.planner.placed),
            versions=lambda: served_versions(director.plan, director.fleet.routed()),
            more=lambda: chain(
                rollout_series(director),
                store_series(archive),
                command_series(
                    ordered(), served_policies(director.plan), unix_nanos(director.planner.clock())
                ),
            ),
        )
    )
    return registry


def placed_blocks(plan: Plan, ever: Sequence[PlacedBlock]) -> list[PlacedBlock]:
    """The blocks of the plan's lanes, each once, and those that the same lanes counted in before.

    A lane counts in another block when its version's constraints are renamed, say; what it counted before is
    still its own. A version that was written over drains in the block that its successor counts in. The
    blocks in use are last: of gauges the last one counts.

    Args:
        plan: The plan in force.
        ever: Every block that was ever placed.
    """
    used = {lane.placed.offset: lane.placed for lane in plan.lanes}
    lanes = {_lane(placed) for placed in used.values()}
    earlier = [placed for placed in ever if placed.offset not in used and _lane(placed) in lanes]
    return [*earlier, *used.values()]


def _lane(placed: PlacedBlock) -> tuple[str, int, str]:
    return placed.spec.policy, placed.spec.version, placed.spec.lane


def served_policies(plan: Plan) -> list[str]:
    """The policies that are planned."""
    return [route.policy for route in plan.snapshot.policies]


def served_versions(plan: Plan, routed: Sequence[Routed]) -> list[ServedVersion]:
    """The versions that at least one worker has loaded."""
    loaded = {(lane.policy, lane.version): lane for said in routed for lane in said.lanes}
    planned = {(lane.policy, lane.route.version): lane for lane in plan.lanes}
    return [_served(planned[key], loaded[key]) for key in sorted(loaded.keys() & planned.keys())]


def rollout_series(director: Director) -> Iterator[Series]:
    """What is deployed, and how far the workers are."""
    plan = director.plan
    for lane in plan.lanes:
        if lane.route.role in {"open", "shadow"}:
            labels = (lane.policy, str(lane.route.version), lane.route.lane)
            yield metrics.LANE_SHARE, labels, lane.route.share
    for route in plan.snapshot.policies:
        state = director.states.get(route.policy)
        yield metrics.DEPLOYMENT_REVISION, (route.policy,), state.revision if state else 0
    yield metrics.ROUTING_GENERATION, (), plan.generation
    yield metrics.WORKERS_CURRENT, (), director.fleet.current(plan.generation)
    for problem in plan.problems:
        yield metrics.VERSION_REFUSED, (problem.policy, str(problem.version), problem.kind), 1


def store_series(archive: Archive) -> Iterator[Series]:
    """Whether the store can be used."""
    yield metrics.STORE_UP, (), archive.away_since is None


def _served(planned: PlannedLane, loaded: LoadedLane) -> ServedVersion:
    return ServedVersion(
        policy=loaded.policy,
        version=loaded.version,
        variant=loaded.variant,
        digest=loaded.digest,
        contract=planned.contract,
        references=planned.references,
    )
