"""Between the wire and columns. The only code that knows both `policy_pb2` and the engine's types.

Arrays go over as they lie in memory: the processors that are supported are little-endian, as the wire is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Mode
from steersman.serving.deciding.call import Call, RawTensor
from steersman.serving.decision import Decisions, Intervention, RowError
from steersman.serving.errors import CallError, invalid
from steersman.serving.rpc.dtypes import CODES, DTYPES
from steersman.serving.rpc.methods import FOREVER_S
from steersman.serving.rpc.status import REASON_CODES, rpc_code
from steersman.serving.rpc.wire import REASON_NAMES, SOURCE_CODES, encode_plainly
from steersman.v1 import policy_pb2 as pb

Array = NDArray[Any]

_MODES: Mapping[int, Mode] = {
    pb.ACTION_MODE_UNSPECIFIED: "greedy",
    pb.ACTION_MODE_GREEDY: "greedy",
    pb.ACTION_MODE_SAMPLED: "sampled",
}
_EVIDENCE: Mapping[int, str] = {
    pb.EVIDENCE_VALUE: "value",
    pb.EVIDENCE_ENTROPY: "entropy",
    pb.EVIDENCE_DISTRIBUTION: "distribution",
}
_NO_EVIDENCE: frozenset[str] = frozenset()


def decode_call(request: pb.ActRequest, arrived_ns: int = 0, deadline_ns: int = 0) -> Call:
    """The request as a call.

    Args:
        request: The request.
        arrived_ns: When the transport had it, `time.perf_counter_ns`; 0 for now.
        deadline_ns: When its caller stops waiting, on the same clock; 0 for never.

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
        evidence=_decode_evidence(request.evidence) if request.evidence else _NO_EVIDENCE,
        episode_ids=request.episode_ids,
        idempotency_keys=request.idempotency_keys,
        episode_tokens=request.episode_tokens,
        steps=request.steps,
        episode_starts=request.episode_starts,
        observation_times=request.observation_times_unix_nanos,
        arrived_ns=arrived_ns or perf_counter_ns(),
        deadline_ns=_nearer(deadline_ns, request.timeout_nanos, arrived_ns)
        if request.timeout_nanos
        else deadline_ns,
    )


def _nearer(deadline_ns: int, timeout_ns: int, arrived_ns: int) -> int:
    """The nearer one of the call's deadline and what the request itself says; 0 for never."""
    if timeout_ns < 0:
        raise invalid("timeout", f"timeout_nanos is {timeout_ns}; expected nanoseconds, 0 for no limit")
    if timeout_ns > FOREVER_S * 1e9:
        return deadline_ns
    own = (arrived_ns or perf_counter_ns()) + timeout_ns
    return min(deadline_ns, own) if deadline_ns else own


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
    shape = tuple(tensor.shape[:]) or None
    if shape and min(shape) < 0:
        raise invalid("tensor", f"{name} has the shape {list(shape[:8])}; expected sizes of at least 0")
    if tensor.values:
        if tensor.data:
            raise invalid("tensor", f"{name} has both data and values; expected one of them")
        return RawTensor(np.array(tensor.values, np.float64), shape, typed=False)
    dtype, data = DTYPES.get(tensor.dtype), tensor.data
    if dtype is None:
        raise invalid("tensor", f"{name} has data but no known dtype" if data else f"{name} is empty")
    if len(data) % dtype.itemsize:
        raise invalid("tensor", f"{name} has {len(data)} bytes; expected a multiple of {dtype.itemsize}")
    if dtype.kind == "b":
        return RawTensor(_booleans(data), shape, typed=True)
    return RawTensor(np.frombuffer(data, dtype), shape, typed=True)


def _booleans(data: bytes) -> NDArray[np.bool_]:
    """Bytes as truth values; any but 0 is true. Where all are 0 or 1 they are so as they lie."""
    if data.translate(None, b"\0\1"):
        return np.frombuffer(data, np.uint8).astype(np.bool_)
    return np.frombuffer(data, np.bool_)


def _decode_mode(mode: int) -> Mode:
    known = _MODES.get(mode)
    if known is None:
        raise invalid("mode", f"mode {mode} is unknown; expected greedy (1) or sampled (2)")
    return known


def _decode_evidence(evidence: Iterable[int]) -> frozenset[str]:
    unknown = set(evidence) - set(_EVIDENCE)
    if unknown:
        raise invalid("evidence", f"evidence {sorted(unknown)[:8]} is unknown; expected {sorted(_EVIDENCE)}")
    return frozenset(_EVIDENCE[item] for item in evidence)


def uses_plain_numbers(request: pb.ActRequest) -> bool:
    """True when the caller wrote observations as plain numbers; the answer's action then is, too."""
    if not request.observation_dict:
        return bool(request.observation.values)
    return any(tensor.values for tensor in request.observation_dict.values())


def encode_bytes(decisions: Decisions, request: pb.ActRequest) -> bytes:
    """The decisions as the bytes of the answer to `request`."""
    plainly = None if uses_plain_numbers(request) else encode_plainly(decisions, request.correlation_id)
    return encode_decisions(decisions, request).SerializeToString() if plainly is None else plainly


def encode_decisions(decisions: Decisions, request: pb.ActRequest) -> pb.ActResponse:
    """The decisions as the answer to `request`."""
    plain = uses_plain_numbers(request)
    response = pb.ActResponse(
        action=encode_tensor(decisions.actions, plain=plain),
        sources=[SOURCE_CODES[code] for code in decisions.sources.tolist()],
        reasons=[REASON_NAMES[code] for code in decisions.reasons.tolist()],
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
        retry_after_nanos=int(error.retry_after_s * 1e9),
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
        margin=item.margin,
    )
