"""`ModelStatistics`: the counters of all workers, as Triton's clients read them.

Where the time went is counted per row, so every count here is of rows, not of requests. It is not counted
apart for rows that failed: their time is with the others', for what is read here must never go down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from steersman.monitoring.blocks import PHASES, BlockView, PlacedBlock
from steersman.oip import inference_pb2 as pb
from steersman.serving.deciding.routing import PolicyRuntime, RoutingTable
from steersman.serving.decision import SOURCE_CODE, Source
from steersman.serving.rpc.oip.describe import find_lane

Total = Callable[[PlacedBlock], BlockView]
"""What has been counted in a block, all workers together: `Segment.total`."""

_FAILED = SOURCE_CODE[Source.NONE]
_QUEUE, _INFER, _PROTECT, _TOTAL = (PHASES.index(name) for name in ("queue", "infer", "protect", "total"))


def model_statistics(
    routing: RoutingTable, request: pb.ModelStatisticsRequest, total: Total
) -> pb.ModelStatisticsResponse:
    """What was decided, and how long it took, of every version that is routed now.

    Raises:
        CallError: There is no such policy or version, or it could not be loaded.
    """
    if not request.name:
        policies: Iterable[PolicyRuntime] = (policy for _, policy in sorted(routing.policies.items()))
        return pb.ModelStatisticsResponse(model_stats=[s for p in policies for s in _of_policy(p, total)])
    policy, lane = find_lane(routing, request.name, request.version)
    only = lane.version if request.version else 0
    return pb.ModelStatisticsResponse(model_stats=_of_policy(policy, total, only))


def _of_policy(policy: PolicyRuntime, total: Total, only: int = 0) -> Sequence[pb.ModelStatistics]:
    """One entry per version, its lanes added up; a shadow's decisions are nobody's answers."""
    blocks: dict[int, list[BlockView]] = {}
    for lane in policy.lanes:
        if lane.role != "shadow" and only in {0, lane.version}:
            blocks.setdefault(lane.version, []).append(total(lane.route.block))
    return [_of_version(policy.name, version, views) for version, views in sorted(blocks.items())]


def _of_version(name: str, version: int, views: Sequence[BlockView]) -> pb.ModelStatistics:
    failed = sum(int(view.sources[_FAILED]) for view in views)
    rows = sum(int(view.sources.sum()) for view in views)
    ns = [sum(int(view.latency_ns[phase]) for view in views) for phase in range(len(PHASES))]
    rest_ns = max(ns[_TOTAL] - ns[_QUEUE] - ns[_INFER] - ns[_PROTECT], 0)
    return pb.ModelStatistics(
        name=name,
        version=str(version),
        inference_count=rows,
        inference_stats=pb.InferStatistics(
            success=_duration(rows - failed, ns[_TOTAL]),
            fail=_duration(failed, 0),
            queue=_duration(rows, ns[_QUEUE]),
            compute_input=_duration(rows, rest_ns),
            compute_infer=_duration(rows, ns[_INFER]),
            compute_output=_duration(rows, ns[_PROTECT]),
            cache_hit=_duration(0, 0),
            cache_miss=_duration(0, 0),
        ),
    )


def _duration(count: int, ns: int) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=ns)
