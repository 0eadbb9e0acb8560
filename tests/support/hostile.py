"""What a fuzzer sends: bytes that are no message, messages that are wrong, frames that are no HTTP/2."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from hypothesis import strategies as st

from steersman.oip import inference_pb2 as oip
from steersman.v1 import control_pb2 as control
from steersman.v1 import policy_pb2 as pb

POLICY_CALLS: dict[str, type[Message]] = {
    "/steersman.v1.PolicyService/Act": pb.ActRequest,
    "/steersman.v1.PolicyService/GetPolicy": pb.GetPolicyRequest,
    "/steersman.v1.PolicyService/ListPolicies": pb.ListPoliciesRequest,
    "/steersman.v1.PolicyService/ReportOutcome": pb.ReportOutcomeRequest,
}
OIP_CALLS: dict[str, type[Message]] = {
    f"/inference.GRPCInferenceService/{name}": getattr(oip, f"{name}Request")
    for name in (
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
    )
}
HEALTH_CALLS: dict[str, type[Message]] = {"/grpc.health.v1.Health/Check": health_pb2.HealthCheckRequest}
STREAM_CALLS: dict[str, type[Message]] = {
    "/steersman.v1.PolicyService/ActStream": pb.ActRequest,
    "/inference.GRPCInferenceService/ModelStreamInfer": oip.ModelInferRequest,
}
CONTROL_CALLS: dict[str, type[Message]] = {
    "/steersman.v1.ControlService/ApplyDeployment": control.ApplyDeploymentRequest,
    "/steersman.v1.ControlService/ListDeployments": control.ListDeploymentsRequest,
    "/steersman.v1.ControlService/SetShare": control.SetShareRequest,
    "/steersman.v1.ControlService/Promote": control.PromoteRequest,
    "/steersman.v1.ControlService/Rollback": control.RollbackRequest,
    "/steersman.v1.ControlService/GetHistory": control.GetHistoryRequest,
    "/steersman.v1.ControlService/RefreshRepository": control.RefreshRepositoryRequest,
}

NAMES = ["toy", "cont", "", "nobody", "../../etc/passwd", "toy\0", "TOY", "é" * 300, "obs", "action_mask"]
NUMBERS = [0, 1, 2, 3, 4, -1, 255, 2**31, 2**31 - 1, -(2**63), 2**63 - 1, 10**9]
FLOATS = [0.0, 1.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 1e-320]
BLOBS = [b"", b"\0", bytes(3), bytes(12), bytes(16), b"\xff" * 16, bytes(4096)]
_FLOAT_TYPES = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}
_UNSIGNED = {FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64}
_NARROW = {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_ENUM}


@st.composite
def any_message(draw: st.DrawFn, kind: type[Message], depth: int = 3) -> Any:
    """A message whose fields are of the right types, and hold whatever else they like."""
    message = kind()
    fields: tuple[Any, ...] = tuple(kind.DESCRIPTOR.fields)
    for field in draw(st.lists(st.sampled_from(fields), max_size=6, unique=True)) if fields else ():
        _fill(draw, message, field, depth)
    return message


def _fill(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    held = getattr(message, field.name)
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        if entry.fields_by_name["value"].message_type is not None and depth:
            value = held[draw(st.sampled_from(NAMES))]
            value.CopyFrom(draw(any_message(type(value), depth - 1)))
    elif entry is not None:
        if depth:
            made = held.add() if field.is_repeated else held
            made.CopyFrom(draw(any_message(type(made), depth - 1)))
    elif field.is_repeated:
        held.extend(draw(st.lists(_scalar(field), max_size=5)))
    else:
        setattr(message, field.name, draw(_scalar(field)))


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """A value that the field can hold."""
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return st.sampled_from(NAMES) | st.text(max_size=20)
        case FieldDescriptor.TYPE_BYTES:
            return st.sampled_from(BLOBS) | st.binary(max_size=40)
        case FieldDescriptor.TYPE_BOOL:
            return st.booleans()
        case kind if kind in _FLOAT_TYPES:
            return st.sampled_from(FLOATS[:6] if kind == FieldDescriptor.TYPE_FLOAT else FLOATS)
        case kind:
            fitting = [n for n in NUMBERS if kind not in _NARROW or abs(n) < 2**31]
            return st.sampled_from([n for n in fitting if kind not in _UNSIGNED or n >= 0])


@st.composite
def near_act(draw: st.DrawFn) -> pb.ActRequest:
    """An `ActRequest` with most things right: rows that fit, and something that does not."""
    rows = draw(st.sampled_from([1, 1, 2, 5, 33]))
    width = draw(st.sampled_from([4, 4, 4, 3, 0, 5]))
    request = pb.ActRequest(
        policy=draw(st.sampled_from(["toy", "toy", "cont", "nobody"])),
        observation=draw(_tensor(rows, width, pb.DTYPE_FLOAT32, "f")),
        mode=draw(st.sampled_from([0, 1, 2, 2, 7])),  # type: ignore[arg-type]  # enums are open
        evidence=draw(st.lists(st.sampled_from([1, 2, 3, 99]), max_size=3)),
        correlation_id=draw(st.sampled_from([0, 1, 2**64 - 1])),
    )
    if draw(st.booleans()):
        request.action_mask.CopyFrom(
            draw(_tensor(rows, draw(st.sampled_from([3, 3, 2, 0])), pb.DTYPE_BOOL, "B"))
        )
    for name in ("episode_ids", "episode_tokens", "steps", "episode_starts", "idempotency_keys"):
        if draw(st.integers(0, 3)) == 0:
            count = draw(st.sampled_from([rows, rows, rows + 1, 1]))
            value = draw(_scalar(pb.ActRequest.DESCRIPTOR.fields_by_name[name]))
            getattr(request, name).extend([value] * count)
    if draw(st.integers(0, 5)) == 0:
        request.observation_dict["obs"].CopyFrom(request.observation)
    if draw(st.integers(0, 5)) == 0:
        request.version = draw(st.sampled_from(NUMBERS))
    return request


@st.composite
def _tensor(draw: st.DrawFn, rows: int, width: int, dtype: Any, code: str) -> pb.Tensor:
    """A tensor of about this shape."""
    floats = [0.0, 1.0, 3.0, -9.0, 1e30, float("nan"), float("inf")]
    elements = draw(
        st.lists(st.sampled_from(floats if code == "f" else [0, 1, 1, 2]), min_size=1, max_size=4)
    )
    repeated = (elements * (rows * width))[: rows * width]
    tensor = pb.Tensor(shape=draw(st.sampled_from([[rows, width], [rows, width], [], [width], [-1, width],
                                                   [2**62, 4], [0], [rows, 1, width]])))  # fmt: skip
    if draw(st.integers(0, 3)) == 0:
        tensor.values.extend(map(float, repeated))
    else:
        tensor.dtype = draw(st.sampled_from([dtype, dtype, dtype, 0, 12, 99]))
        tensor.data = struct.pack(f"<{len(repeated)}{code}", *repeated) + draw(
            st.sampled_from([b""] * 3 + [b"x"])
        )
    return tensor


@st.composite
def near_infer(draw: st.DrawFn) -> oip.ModelInferRequest:
    """A `ModelInferRequest` with most things right."""
    request = oip.ModelInferRequest(
        model_name=draw(st.sampled_from(["toy", "toy", "cont", "nobody"])),
        model_version=draw(st.sampled_from(["", "", "1", "x", "-1", "9" * 30])),
        id=draw(st.sampled_from(["", "7", "é" * 100])),
    )
    for name in draw(
        st.lists(st.sampled_from(["obs", "obs", "action_mask", "episode_id", "what"]), max_size=3)
    ):
        tensor = request.inputs.add(
            name=name,
            datatype=draw(st.sampled_from(["FP32", "FP32", "FP64", "BOOL", "BYTES", "FP16", "", "INT4"])),
            shape=draw(st.sampled_from([[1, 4], [2, 4], [1, 3], [], [-1, 4], [2**40, 2**40], [0, 4]])),
        )
        if draw(st.booleans()):
            tensor.contents.fp32_contents.extend(draw(st.lists(st.sampled_from(FLOATS[:6]), max_size=8)))
        if draw(st.booleans()):
            request.raw_input_contents.append(
                draw(st.sampled_from([bytes(16), bytes(32), bytes(3), b"\xff" * 9]))
            )
    for name in draw(st.lists(st.sampled_from(["action", "value", "nothing"]), max_size=2)):
        request.outputs.add(name=name)
    for name in draw(
        st.lists(st.sampled_from(["mode", "sequence_id", "timeout", "é"]), max_size=2, unique=True)
    ):
        request.parameters[name].CopyFrom(draw(any_message(oip.InferParameter, 0)))
    return request


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """A frame of HTTP/2; its length may be a lie."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(path: str = "/steersman.v1.PolicyService/Act", more: Sequence[tuple[str, str]] = ()) -> bytes:
    """The header block of a call, in HPACK's plainest form."""
    pairs = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")]
    pairs += [("content-type", "application/grpc"), ("te", "trailers"), *more]
    return b"".join(
        b"\0" + bytes([len(key)]) + key.encode() + bytes([len(text)]) + text.encode() for key, text in pairs
    )


def call(stream: int, body: bytes = b"", *, flag: int = 0, length: int | None = None) -> bytes:
    """A whole call; the length of its message may be a lie."""
    size = len(body) if length is None else length
    message = bytes([flag]) + struct.pack(">I", size) + body
    return frame(HEADERS, END_HEADERS, stream, headers()) + frame(DATA, END_STREAM, stream, message)


FLOODS: dict[str, bytes] = {
    "rapid reset": b"".join(
        frame(HEADERS, END_HEADERS, 2 * i + 1, headers()) + frame(RESET, 0, 2 * i + 1, struct.pack(">I", 8))
        for i in range(2000)
    ),
    "endless continuation": frame(HEADERS, 0, 1, headers())
    + frame(CONTINUATION, 0, 1, b"\0\x01a\x01b" * 400) * 1000,
    "pings": frame(PING, 0, 0, bytes(8)) * 5000,
    "settings": frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1)) * 3000,
    "empty data": frame(HEADERS, END_HEADERS, 1, headers()) + frame(DATA, 0, 1, b"") * 5000,
    "windows": frame(HEADERS, END_HEADERS, 1, headers())
    + frame(WINDOW, 0, 1, struct.pack(">I", 2**31 - 1)) * 50,
    "a message that says it has 4 GiB": call(1, bytes(1000), length=2**32 - 1),
    "compressed, it says": call(1, b"x" * 1000, flag=1),
    "calls that never end": b"".join(frame(HEADERS, END_HEADERS, 2 * i + 1, headers()) for i in range(3000)),
}


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A connection's bytes: frames in any order with any content, cut off anywhere."""
    made = draw(st.lists(_frame(), max_size=12))
    said = draw(st.sampled_from([PREFACE + frame(SETTINGS, 0, 0, b"")] * 4 + [b"", PREFACE[:10]])) + b"".join(
        made
    )
    return said[: draw(st.integers(0, len(said)))] if draw(st.integers(0, 3)) == 0 else said


def _frame() -> st.SearchStrategy[bytes]:
    streams = st.sampled_from([0, 1, 1, 3, 5, 2, 2**31 - 1])
    payloads = (
        st.binary(max_size=60) | st.just(headers()) | st.just(headers("/no/such")) | st.just(bytes(20000))
    )
    lengths = st.none() | st.none() | st.sampled_from([0, 1, 2**24 - 1])
    any_frame = st.builds(frame, st.integers(0, 12), st.integers(0, 255), streams, payloads, lengths)
    calls = st.builds(
        call, st.sampled_from([1, 3, 5]), st.binary(max_size=60), flag=st.sampled_from([0, 1, 255])
    )
    return any_frame | calls
