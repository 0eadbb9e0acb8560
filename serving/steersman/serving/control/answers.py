"""Deployments on the wire: plans, states and workers as `control.proto` has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from steersman.serving.control.operator import Moved
from steersman.serving.messages import Routed
from steersman.serving.planning.plan import PlannedLane, public
from steersman.serving.rollout.deployment import Deployment
from steersman.serving.rollout.journal import Entry
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.supervising.director import Director
from steersman.v1 import control_pb2 as pb


def encode_change(moved: Moved, director: Director) -> pb.DeploymentChange:
    """The answer to a change."""
    return pb.DeploymentChange(
        deployment=encode_status(moved.state, director, moved.lanes),
        changes=moved.lines,
        unchanged=moved.unchanged,
        dry_run=moved.dry_run,
    )


def encode_list(director: Director, policy: str) -> pb.ListDeploymentsResponse:
    """The deployments in force; of one policy, where it is named."""
    names = {route.policy for route in director.plan.snapshot.policies} | director.states.keys()
    states = [
        director.states.get(name) or DeploymentState(deployment=Deployment(policy=name))
        for name in sorted(names)
        if policy in {"", name}
    ]
    return pb.ListDeploymentsResponse(deployments=[encode_status(state, director) for state in states])


def encode_status(
    state: DeploymentState, director: Director, lanes: Sequence[PlannedLane] | None = None
) -> pb.DeploymentStatus:
    """A deployment and what the workers make of it.

    Args:
        state: The deployment.
        director: Knows the plan and the workers.
        lanes: Lanes to show instead of the ones in force.
    """
    plan, fleet = director.plan, director.fleet
    routed = () if lanes is not None else fleet.routed()
    shown = plan.of(state.policy) if lanes is None else lanes
    return pb.DeploymentStatus(
        policy=state.policy,
        revision=state.revision,
        document=state.document,
        lanes=[_lane(lane, routed) for lane in shown],
        rollout_id=state.rollout_id,
        epoch=state.epoch,
        generation=plan.generation,
        workers_current=fleet.current(plan.generation),
        workers=fleet.size,
        problems=list(problems(state.policy, director)),
    )


def problems(policy: str, director: Director) -> Iterable[str]:
    """What ails a policy, in lines."""
    plan = director.plan
    noted = [str(problem) for problem in plan.problems if problem.policy == policy]
    if policy in plan.failures:
        noted.append(f"no version can be served: {public(plan.failures[policy])}")
    for said in director.fleet.routed():
        noted += [f"version {f.version}: {f.message}" for f in said.failures if f.policy == policy]
    return dict.fromkeys(noted)


def encode_entry(entry: Entry, *, with_document: bool) -> pb.HistoryEntry:
    """An entry of the history, with the deployment that it made or without."""
    return pb.HistoryEntry(
        id=entry.id,
        policy=entry.policy,
        revision=entry.revision,
        at_unix_nanos=entry.at_unix_nanos,
        actor=entry.actor,
        action=entry.action,
        reason=entry.reason,
        changes=entry.changes,
        document=entry.document if with_document else "",
        rollout_id=entry.rollout_id,
        epoch=entry.epoch,
    )


def _lane(lane: PlannedLane, routed: Iterable[Routed]) -> pb.LaneStatus:
    route = lane.route
    ready = sum(
        any(
            (loaded.policy, loaded.lane, loaded.digest) == (lane.policy, route.lane, route.digest)
            for loaded in said.lanes
        )
        for said in routed
    )
    return pb.LaneStatus(
        lane=route.lane,
        version=route.version,
        share=route.share,
        digest=route.digest,
        workers_ready=ready,
        draining=route.role == "draining",
        role=route.role,
    )
