"""Three toy policies of which every answer can be worked out by hand.

    gate    4 float32 -> Discrete(3) from 10; greedy is the largest of the first three features, if allowed
    arm     Dict of pose float32 [2] and gear int64 [] -> Box [2]; pose times gear
    memory  uint8 [2, 2] -> MultiDiscrete [2, 3]; recurrent: each answer's token must come with the next step
A NaN that gate observes is answered by the fallback lean, the last allowed choice; so is a wanted choice that
the mask forbids if the fourth feature is negative. A mask that allows nothing fails the row. Repeating an
idempotency key repeats the decision id. The label "champion" is version 7's.
"""

from __future__ import annotations

import hashlib
import math
import os

import grpc
import numpy as np

from steersman.v1 import policy_pb2 as pb

NAN = math.nan
CREATED_NANOS = 1_700_000_000_000_001_000
DTYPES = {pb.DTYPE_FLOAT32: "<f4", pb.DTYPE_INT64: "<i8", pb.DTYPE_UINT8: "u1", pb.DTYPE_BOOL: "?"}

VERSIONS = [
    pb.PolicyVersion(
        version=7,
        state=pb.VERSION_STATE_READY,
        digest="ab" * 32,
        variant="int8",
        lanes=["stable"],
        labels=["champion"],
        created_unix_nanos=CREATED_NANOS,
    ),
    pb.PolicyVersion(version=6, state=pb.VERSION_STATE_FAILED, detail="its certificate does not hold"),
]
LABELS = {"champion": 7, "challenger": 8}
MODES: list[pb.ActionMode.ValueType] = [pb.ACTION_MODE_GREEDY, pb.ACTION_MODE_SAMPLED]
POLICIES = {
    "gate": pb.PolicyDescription(
        policy="gate",
        observations=[
            pb.ObservationSpec(
                dtype=pb.DTYPE_FLOAT32,
                shape=[4],
                low=[-math.inf],
                high=[math.inf],
                feature_names=list("abcd"),
            )
        ],
        action=pb.ActionSpec(
            kind=pb.ACTION_KIND_DISCRETE,
            dtype=pb.DTYPE_INT64,
            nvec=[3],
            start=10,
            names=["left", "stay", "right"],
        ),
        action_mask=pb.ActionMaskSpec(segments=[3]),
        modes=MODES,
        algorithm="PPO",
        environment="Gate-v0",
        versions=VERSIONS,
        distribution=pb.DISTRIBUTION_KIND_CATEGORICAL,
        contract_digest="cd" * 32,
    ),
    "arm": pb.PolicyDescription(
        policy="arm",
        observations=[
            pb.ObservationSpec(key="pose", dtype=pb.DTYPE_FLOAT32, shape=[2], low=[-1], high=[1]),
            pb.ObservationSpec(key="gear", dtype=pb.DTYPE_INT64, low=[0], high=[5]),
        ],
        action=pb.ActionSpec(
            kind=pb.ACTION_KIND_BOX, dtype=pb.DTYPE_FLOAT32, shape=[2], low=[-5, -5], high=[5, 5]
        ),
        modes=MODES,
        versions=VERSIONS[:1],
        distribution=pb.DISTRIBUTION_KIND_GAUSSIAN,
    ),
    "memory": pb.PolicyDescription(
        policy="memory",
        observations=[pb.ObservationSpec(dtype=pb.DTYPE_UINT8, shape=[2, 2], low=[0], high=[255])],
        action=pb.ActionSpec(
            kind=pb.ACTION_KIND_MULTI_DISCRETE, dtype=pb.DTYPE_INT64, shape=[2], nvec=[2, 3]
        ),
        action_mask=pb.ActionMaskSpec(segments=[2, 3]),
        recurrent=True,
        modes=MODES[:1],
        versions=VERSIONS[:1],
        distribution=pb.DISTRIBUTION_KIND_Q_VALUES,
    ),
}


def decide(request: pb.ActRequest, description: pb.PolicyDescription) -> pb.ActResponse:
    """The answer, with every column."""
    tensors = request.observation_dict or {"": request.observation}
    rows = {key: read(tensor) for key, tensor in tensors.items()}
    count = len(next(iter(rows.values())))
    keys = request.idempotency_keys or [os.urandom(16) for _ in range(count)]
    nothing = [NAN] * count
    answer = pb.ActResponse(
        sources=[pb.SOURCE_EXPLORATION if request.mode == pb.ACTION_MODE_SAMPLED else pb.SOURCE_POLICY]
        * count,
        reasons=[""] * count,
        versions=[request.version or LABELS.get(request.version_label, 7)] * count,
        lanes=["canary" if name.startswith("canary") else "stable" for name in request.episode_ids]
        or ["stable"] * count,
        decision_ids=b"".join(hashlib.sha256(key).digest()[:16] for key in keys),
        log_probs=[-0.5] * count if request.mode == pb.ACTION_MODE_SAMPLED else nothing,
        propensities=[0.1] * count if request.mode == pb.ACTION_MODE_SAMPLED else nothing,
        correlation_id=request.correlation_id,
    )
    actions = DECIDERS[description.policy](request, rows, answer)
    dtype = description.action.dtype
    answer.action.CopyFrom(pb.Tensor(dtype=dtype, shape=actions.shape, data=actions.tobytes()))
    add_evidence(request, answer, count)
    return answer


def read(tensor: pb.Tensor) -> np.ndarray:
    """The tensor as the client must send it: typed bytes and a shape."""
    return np.frombuffer(tensor.data, DTYPES[tensor.dtype]).reshape(tuple(tensor.shape))


def add_evidence(request: pb.ActRequest, answer: pb.ActResponse, count: int) -> None:
    """What was asked for, and nothing else."""
    if pb.EVIDENCE_VALUE in request.evidence:
        answer.values.extend([1.5, *[NAN] * (count - 1)])
    if pb.EVIDENCE_ENTROPY in request.evidence:
        answer.entropies.extend([0.25] * count)
    if pb.EVIDENCE_DISTRIBUTION in request.evidence:
        spread = np.arange(count * 3, dtype="<f4").reshape(count, 3)
        answer.distribution.CopyFrom(
            pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=spread.shape, data=spread.tobytes())
        )


def fail_row(answer: pb.ActResponse, row: int, code: grpc.StatusCode, reason: str, message: str) -> None:
    """One row has no action."""
    answer.errors.add(row=row, reason=reason, message=message, code=code.value[0])
    answer.sources[row] = pb.SOURCE_UNSPECIFIED
    answer.reasons[row] = reason


def decide_gate(request: pb.ActRequest, rows: dict[str, np.ndarray], answer: pb.ActResponse) -> np.ndarray:
    """The largest allowed feature."""
    features = rows[""]
    allowed = (
        read(request.action_mask) if request.HasField("action_mask") else np.ones((len(features), 3), bool)
    )
    actions = np.zeros(len(features), "<i8")
    for row, (values, mask) in enumerate(zip(features, allowed, strict=True)):
        if not mask.any():
            message = "the action mask forbids every choice"
            fail_row(answer, row, grpc.StatusCode.INVALID_ARGUMENT, "mask_all_false", message)
        elif np.isnan(values).any():
            actions[row] = lean(answer, row, mask, "observation_non_finite", None)
        elif values[3] < 0 and not mask[values[:3].argmax()]:
            actions[row] = lean(answer, row, mask, "action_masked", 10 + int(values[:3].argmax()))
        else:
            actions[row] = 10 + np.where(mask, values[:3], -np.inf).argmax()
    return actions


def lean(answer: pb.ActResponse, row: int, mask: np.ndarray, reason: str, wanted: int | None) -> int:
    """The fallback's action, said in the answer."""
    action = 10 + int(np.flatnonzero(mask)[-1])
    before, after = (
        None if a is None else pb.Tensor(dtype=pb.DTYPE_INT64, values=[a]) for a in (wanted, action)
    )
    answer.sources[row] = pb.SOURCE_FALLBACK
    answer.reasons[row] = reason
    answer.interventions.add(
        row=row, layer="fallback", name="lean", reason=reason, before=before, after=after, margin=NAN
    )
    return action


def decide_arm(request: pb.ActRequest, rows: dict[str, np.ndarray], answer: pb.ActResponse) -> np.ndarray:
    """Pose times gear."""
    actions: np.ndarray = (rows["pose"] * rows["gear"][:, None]).astype("<f4")
    return actions


def decide_memory(request: pb.ActRequest, rows: dict[str, np.ndarray], answer: pb.ActResponse) -> np.ndarray:
    """The parity of the first byte, and how many steps came before."""
    count = len(rows[""])
    steps = request.steps or [0] * count
    tokens = request.episode_tokens or [b""] * count
    names = request.episode_ids or [""] * count
    actions = np.zeros((count, 2), "<i8")
    for row, (name, step, token) in enumerate(zip(names, steps, tokens, strict=True)):
        expected = f"{name}:{step}".encode() if step else b""
        if token != expected or (request.episode_starts and request.episode_starts[row] != (step == 0)):
            message = f"the token is not that of step {step} of episode {name!r}"
            fail_row(answer, row, grpc.StatusCode.FAILED_PRECONDITION, "no_feasible_action", message)
        actions[row] = (rows[""][row, 0, 0] % 2, step % 3)
        answer.episode_tokens.append(f"{name}:{step + 1}".encode())
    return actions


DECIDERS = {"gate": decide_gate, "arm": decide_arm, "memory": decide_memory}
