"""Deciding recorded requests again, from wire to wire, without processes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from steersman.monitoring.counters import Segment, Slot
from steersman.serving.counting import counters_layout
from steersman.serving.deciding.engine import Engine
from steersman.serving.deciding.episodes import EpisodeKeeper
from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.decision import Decisions
from steersman.serving.loading.loader import Loader
from steersman.serving.planning.planner import Planner
from steersman.serving.rollout.deployment import Deployment
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.rollout.tokens import TokenCodec
from steersman.serving.rpc.convert import decode_call, encode_decisions
from steersman.v1 import policy_pb2 as pb

SALT = bytes(range(32))
DEPLOYMENT = {
    "policy": "toy",
    "safety": {"fallback": [{"rules": [{"when": "left > 1.0", "then": 2}]}, {"preference": [0, 1]}]},
}


def _tensor(array: object, dtype: str = "float32") -> pb.Tensor:
    values = np.asarray(array, dtype)
    return pb.Tensor(
        dtype=pb.DType.Value(f"DTYPE_{dtype.upper()}"), shape=values.shape, data=values.tobytes()
    )


def _request(observations: object, mask: object = None, **fields: object) -> pb.ActRequest:
    rows = len(np.asarray(observations))
    keys = [f"row-{row}".encode() for row in range(rows)]
    request = pb.ActRequest(
        policy="toy",
        observation=_tensor(observations),
        idempotency_keys=keys,
        **fields,  # type: ignore[arg-type]
    )
    if mask is not None:
        request.action_mask.CopyFrom(_tensor(mask, "bool"))
    return request


_EVIDENCE = [pb.EVIDENCE_VALUE, pb.EVIDENCE_ENTROPY, pb.EVIDENCE_DISTRIBUTION]
_ROWS = np.linspace(-2, 2, 32, dtype=np.float32).reshape(8, 4)
REQUESTS = (
    _request(_ROWS),
    _request(_ROWS, mode=pb.ACTION_MODE_SAMPLED, evidence=_EVIDENCE),
    _request(_ROWS, [[True, False, True]] * 8, mode=pb.ACTION_MODE_SAMPLED),
    _request([[np.nan, 0, 0, 0], [2, np.nan, 0, 0], [1, 2, 3, 4]], evidence=_EVIDENCE, correlation_id=9),
    _request([[1, 2, 3, 4]] * 2, [[False, False, False], [True, True, False]]),
)


def replay(repository: Path, requests: Sequence[pb.ActRequest]) -> list[pb.ActResponse]:
    """What the engine answers to these requests with the bundles of a repository."""
    with tempfile.TemporaryDirectory() as folder:
        segment = Segment.create(Path(folder) / "counters", counters_layout(1, 20_000))
        deployment = {"toy": Deployment.model_validate(DEPLOYMENT)}
        plan = Planner(repository, deployment, (), segment.allocator()).plan(generation=1)
        if plan.failures:
            raise plan.failures["toy"]
        engine = Engine(SALT, EpisodeKeeper(TokenCodec(Keyring(current=1, keys={1: SALT.hex()})), 3600.0))
        loader = Loader(Slot.open(segment.path, 0).block, Path(folder))
        engine.swap(loader.load(plan.snapshot, RoutingTable()))
        return [_answer(engine, request) for request in requests]


def _answer(engine: Engine, request: pb.ActRequest) -> pb.ActResponse:
    (outcome,) = engine.decide([decode_call(request)])
    assert isinstance(outcome, Decisions), outcome
    return encode_decisions(outcome, request)
