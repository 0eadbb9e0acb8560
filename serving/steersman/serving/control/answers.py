"""Deployments on the wire: plans, states and workers as `control.proto` has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from steersman.serving.control.operator import Moved
from steersman.serving.messages import Routed
from steersman.serving.planning.plan import Plan, PlannedLane, public
from steersman.serving.rollout.deployment import Deployment
from steersman.serving.rollout.journal import Entry
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.supervising.director import Director
from steersman.v1 import control_pb2 as pb

MAX_PAGE_BYTES = 1 << 20
"""Of the entries of one answer, if it is not a single one. gRPC clients take 4 MiB unless told otherwise."""


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
    labels = _labels(state.policy, plan) if lanes is None else state.deployment.labels
    return pb.DeploymentStatus(
        policy=state.policy,
        revision=state.revision,
        document=state.document,
        lanes=[_lane(lane, routed, labels) for lane in shown],
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


def encode_history(entries: Sequence[Entry], limit: int, *, with_documents: bool) -> pb.GetHistoryResponse:
    """A page of the history: at most `limit` entries, and of those as many as `MAX_PAGE_BYTES` have room for.

    Args:
        entries: The entries, newest first; one more than `limit` where there are older ones.
        limit: Most entries; 1 or more.
        with_documents: Whether with the deployments that they made.
    """
    page = pb.GetHistoryResponse()
    size = 0
    for entry in entries[:limit]:
        encoded = encode_entry(entry, with_document=with_documents)
        size += encoded.ByteSize()
        if page.entries and size > MAX_PAGE_BYTES:
            break
        page.entries.append(encoded)
    if len(page.entries) < len(entries):
        page.next_before_id = page.entries[-1].id
    return page


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


def _labels(policy: str, plan: Plan) -> Mapping[str, int]:
    """The labels in force, which stay behind where the version that they should move to is refused."""
    return next((route.labels for route in plan.snapshot.policies if route.policy == policy), {})


def _lane(lane: PlannedLane, routed: Iterable[Routed], labels: Mapping[str, int]) -> pb.LaneStatus:
    route = lane.route
    asked_for = route.role in {"open", "pinned"}
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
        labels=sorted(name for name, version in labels.items() if asked_for and version == route.version),
    )
