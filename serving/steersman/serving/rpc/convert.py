"""Between the wire and columns. The only code that knows both `policy_pb2` and the engine's types.

Arrays go over as they lie in memory: the processors that are supported are little-endian, as the wire is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Mode
from steersman.serving.call import Call, RawTensor
from steersman.serving.decision import REASONS, SOURCES, Decisions, Intervention, RowError
from steersman.serving.errors import CallError, invalid
from steersman.serving.rpc.status import REASON_CODES, rpc_code
from steersman.v1 import policy_pb2 as pb

Array = NDArray[Any]

DTYPES: Mapping[pb.DType.ValueType, np.dtype[Any]] = {
    pb.DTYPE_INT8: np.dtype("i1"),
    pb.DTYPE_INT16: np.dtype("<i2"),
    pb.DTYPE_INT32: np.dtype("<i4"),
    pb.DTYPE_INT64: np.dtype("<i8"),
    pb.DTYPE_UINT8: np.dtype("u1"),
    pb.DTYPE_UINT16: np.dtype("<u2"),
    pb.DTYPE_UINT32: np.dtype("<u4"),
    pb.DTYPE_UINT64: np.dtype("<u8"),
    pb.DTYPE_FLOAT16: np.dtype("<f2"),
    pb.DTYPE_FLOAT32: np.dtype("<f4"),
    pb.DTYPE_FLOAT64: np.dtype("<f8"),
    pb.DTYPE_BOOL: np.dtype("?"),
}
CODES: Mapping[np.dtype[Any], pb.DType.ValueType] = {dtype: code for code, dtype in DTYPES.items()}
_MODES: Mapping[int, Mode] = {
    pb.ACTION_MODE_UNSPECIFIED: "greedy",
    pb.ACTION_MODE_GREEDY: "greedy",
    pb.ACTION_MODE_SAMPLED: "sampled",
}
_EVIDENCE = {
    pb.EVIDENCE_VALUE: "value",
    pb.EVIDENCE_ENTROPY: "entropy",
    pb.EVIDENCE_DISTRIBUTION: "distribution",
}
_SOURCE_CODES = tuple(
    pb.SOURCE_UNSPECIFIED if source == "none" else pb.Source.Value(f"SOURCE_{source.name}")
    for source in SOURCES
)
_REASON_NAMES = tuple(str(reason) for reason in REASONS)


def decode_call(request: pb.ActRequest) -> Call:
    """The request as a call.

    Raises:
        CallError: A field is malformed, whatever the policy.
    """
    return Call(
        policy=request.policy,
        observations=_decode_observations(request),
        action_mask=_decode_tensor(request.action_mask, "action_mask")
        if request.HasField("action_mask")
        else None,
        mode=_decode_mode(request.mode),
        version=request.version,
        version_label=request.version_label,
        evidence=_decode_evidence(request),
        episode_ids=request.episode_ids,
        idempotency_keys=request.idempotency_keys,
        episode_tokens=request.episode_tokens,
        steps=request.steps,
        episode_starts=request.episode_starts,
        observation_times=request.observation_times_unix_nanos,
        arrived_ns=perf_counter_ns(),
    )


def _decode_observations(request: pb.ActRequest) -> dict[str, RawTensor]:
    if not request.observation_dict:
        return (
            {"": _decode_tensor(request.observation, "observation")}
            if request.HasField("observation")
            else {}
        )
    if request.HasField("observation"):
        raise invalid(
            "observation_keys", "observation and observation_dict are both given; expected one of them"
        )
    return {
        key: _decode_tensor(t, f"observation_dict[{key!r}]") for key, t in request.observation_dict.items()
    }


def _decode_tensor(tensor: pb.Tensor, name: str) -> RawTensor:
    shape = tuple(tensor.shape) or None
    if shape and min(shape) < 0:
        raise invalid("tensor", f"{name} has the shape {list(shape[:8])}; expected sizes of at least 0")
    if tensor.values:
        if tensor.data:
            raise invalid("tensor", f"{name} has both data and values; expected one of them")
        return RawTensor(np.array(tensor.values, np.float64), shape, typed=False)
    dtype = DTYPES.get(tensor.dtype)
    if dtype is None:
        raise invalid("tensor", f"{name} has data but no known dtype" if tensor.data else f"{name} is empty")
    if len(tensor.data) % dtype.itemsize:
        raise invalid(
            "tensor", f"{name} has {len(tensor.data)} bytes; expected a multiple of {dtype.itemsize}"
        )
    if dtype.kind == "b":
        return RawTensor(np.frombuffer(tensor.data, np.uint8) != 0, shape, typed=True)
    return RawTensor(np.frombuffer(tensor.data, dtype), shape, typed=True)


def _decode_mode(mode: int) -> Mode:
    if mode not in _MODES:
        raise invalid("mode", f"mode {mode} is unknown; expected greedy (1) or sampled (2)")
    return _MODES[mode]


def _decode_evidence(request: pb.ActRequest) -> frozenset[str]:
    if not request.evidence:
        return frozenset()
    unknown = set(request.evidence) - set(_EVIDENCE)
    if unknown:
        raise invalid("evidence", f"evidence {sorted(unknown)[:8]} is unknown; expected {sorted(_EVIDENCE)}")
    return frozenset(_EVIDENCE[item] for item in request.evidence)


def uses_plain_numbers(request: pb.ActRequest) -> bool:
    """True when the caller wrote observations as plain numbers; the answer's action then is, too."""
    tensors = request.observation_dict.values() if request.observation_dict else (request.observation,)
    return any(tensor.values for tensor in tensors)


def encode_decisions(decisions: Decisions, request: pb.ActRequest) -> pb.ActResponse:
    """The decisions as the answer to `request`."""
    plain = uses_plain_numbers(request)
    response = pb.ActResponse(
        action=encode_tensor(decisions.actions, plain=plain),
        sources=[_SOURCE_CODES[code] for code in decisions.sources.tolist()],
        reasons=[_REASON_NAMES[code] for code in decisions.reasons.tolist()],
        versions=decisions.versions.tolist(),
        lanes=decisions.lanes,
        decision_ids=decisions.decision_ids.tobytes(),
        log_probs=decisions.log_probs.tolist(),
        propensities=decisions.propensities.tolist(),
        episode_tokens=decisions.episode_tokens,
        correlation_id=request.correlation_id,
    )
    _encode_evidence(decisions, response, plain=plain)
    if decisions.errors:
        response.errors.extend(_encode_error(error) for error in decisions.errors)
    if decisions.interventions:
        response.interventions.extend(
            _encode_intervention(item, plain=plain) for item in decisions.interventions
        )
    return response


def only_row_error(decisions: Decisions) -> CallError | None:
    """The failure of a call whose only row failed."""
    if not decisions.errors or len(decisions.actions) > 1:
        return None
    error = decisions.errors[0]
    code = REASON_CODES[error.reason]
    return CallError(code, str(error.reason), error.message, row=True, retryable=error.retryable)


def encode_status(error: CallError) -> pb.CallStatus:
    """A failure as it goes over a stream."""
    return pb.CallStatus(
        code=rpc_code(error.code),
        message=error.message,
        reason=error.reason,
        row=error.row,
        retryable=error.retryable,
    )


def _encode_evidence(decisions: Decisions, response: pb.ActResponse, *, plain: bool) -> None:
    if decisions.values is not None:
        response.values.extend(decisions.values.tolist())
    if decisions.entropies is not None:
        response.entropies.extend(decisions.entropies.tolist())
    if decisions.distribution is not None:
        response.distribution.CopyFrom(encode_tensor(decisions.distribution, plain=plain))


def encode_tensor(array: Array, *, plain: bool = False) -> pb.Tensor:
    """An array as a tensor, as plain numbers if asked for."""
    code = CODES[array.dtype]
    if plain:
        return pb.Tensor(dtype=code, shape=array.shape, values=array.astype(np.float64).ravel().tolist())
    return pb.Tensor(dtype=code, shape=array.shape, data=array.tobytes())


def _encode_error(error: RowError) -> pb.RowError:
    return pb.RowError(
        row=error.row,
        reason=str(error.reason),
        message=error.message,
        code=rpc_code(REASON_CODES[error.reason]),
        retryable=error.retryable,
    )


def _encode_intervention(item: Intervention, *, plain: bool) -> pb.Intervention:
    return pb.Intervention(
        row=item.row,
        layer=item.layer,
        name=item.name,
        reason=str(item.reason),
        before=None if item.before is None else encode_tensor(item.before, plain=plain),
        after=encode_tensor(item.after, plain=plain),
        margin=math.nan,
    )
