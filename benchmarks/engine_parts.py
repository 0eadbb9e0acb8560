"""The parts of a decision, each as something to be timed on the rows that `decide` gets.

They call the same functions as the engine does, so that the list shows where its time goes; what the engine
does beside them is the difference to the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine_kit import lane_of, request_of
from benchmarks.errors import BenchmarkError
from benchmarks.policies import PolicyShape
from benchmarks.timing import Action
from steersman.bundle.features import feature_matrix
from steersman.bundle.session import usual_outputs
from steersman.monitoring.recorder import Rows
from steersman.safety.masks import all_false_segments, permits
from steersman.serving.deciding.batch import Columns, join
from steersman.serving.deciding.call import Call
from steersman.serving.deciding.engine import Engine
from steersman.serving.deciding.runtime import LaneRuntime
from steersman.serving.decision import SOURCE_CODE, Decisions, Source
from steersman.serving.rpc.convert import encode_bytes
from steersman.serving.rpc.methods import RequestDetails
from steersman.serving.rpc.policy import decode_act

BARE, MODEL, RECORD = "bare ONNX Runtime", "model", "record"
DECODE, ENCODE = "decode", "encode"
CHECK, GUARD, MASK = "check and join", "guard", "mask"


def parts(engine: Engine, shape: PolicyShape, calls: Sequence[Call]) -> dict[str, Action]:
    """What to time, by name.

    Args:
        engine: Serves the policy.
        shape: The policy.
        calls: Calls of one row each, with masks.
    """
    lane = lane_of(engine, shape)
    columns = join([lane.loaded.checker.check(call, 1) for call in calls])
    return {
        BARE: _bare(lane, columns),
        DECODE: _decode(shape, len(calls)),
        CHECK: lambda: join([lane.loaded.checker.check(call, 1) for call in calls]),
        GUARD: _guard(lane, columns),
        MODEL: _model(lane, columns),
        MASK: _mask(lane, columns),
        RECORD: _record(lane, columns),
        ENCODE: _encode(engine, shape, calls),
    }


def _bare(lane: LaneRuntime, columns: Columns) -> Action:
    """What a caller without Steersman would run: a graph cut to the greedy outputs, all inputs at hand."""
    session, outputs = lane.loaded.session, usual_outputs(lane.contract.outputs, "greedy")
    feeds = session.feeds(columns.observations, columns.action_mask)
    return lambda: session.run(outputs, feeds)


def _decode(shape: PolicyShape, rows: int) -> Action:
    payload, details = request_of(shape).SerializeToString(), RequestDetails(arrived_ns=1)
    return lambda: [decode_act(payload, details) for _ in range(rows)]


def _features(lane: LaneRuntime, columns: Columns) -> NDArray[np.float64] | None:
    return feature_matrix(columns.observations, lane.contract) if lane.named_features else None


def _guard(lane: LaneRuntime, columns: Columns) -> Action:
    return lambda: lane.safeguards.guard.check(columns.observations, _features(lane, columns))


def _model(lane: LaneRuntime, columns: Columns) -> Action:
    """What the engine runs: also the distribution, which it checks for NaN."""
    session, outputs = lane.loaded.session, usual_outputs(lane.contract.outputs, "greedy")
    observations, mask = columns.observations, columns.action_mask
    return lambda: session.run(outputs, session.feeds(observations, mask))


def _mask(lane: LaneRuntime, columns: Columns) -> Action:
    action, mask = lane.contract.action, columns.action_mask
    if mask is None:
        raise BenchmarkError("a call has no mask", where="engine")
    actions = np.zeros(columns.rows, np.int64)

    def check() -> object:
        closed = all_false_segments(mask, action.mask_segments)
        return closed.any(), permits(mask, actions, action).all()

    return check


def _record(lane: LaneRuntime, columns: Columns) -> Action:
    rows, features = columns.rows, _features(lane, columns)
    recorded = Rows(
        mode="greedy",
        sources=np.full(rows, SOURCE_CODE[Source.POLICY], np.int8),
        features=np.empty((rows, 0)) if features is None else features,
        actions=np.zeros(rows, np.int64),
        assigned=np.zeros(rows, np.int8),
    )
    return lambda: lane.recorder.record(recorded)


def _encode(engine: Engine, shape: PolicyShape, calls: Sequence[Call]) -> Action:
    request = request_of(shape)
    answers = [outcome for outcome in engine.decide(calls) if isinstance(outcome, Decisions)]
    return lambda: [encode_bytes(decisions, request) for decisions in answers]
