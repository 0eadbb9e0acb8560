"""From a `ModelInferRequest` to a call. Which tensors may be sent is said here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from steersman.oip import inference_pb2 as pb
from steersman.serving.deciding.call import Call, RawTensor
from steersman.serving.errors import CallError, invalid
from steersman.serving.rpc.methods import RequestDetails
from steersman.serving.rpc.oip.columns import PER_ROW
from steersman.serving.rpc.oip.datatypes import BYTES
from steersman.serving.rpc.oip.outputs import EVIDENCE, USUAL, check_outputs
from steersman.serving.rpc.oip.parameters import Parameters, read_parameters
from steersman.serving.rpc.oip.tensors import Tensor, read_tensors

OBSERVATION = "obs"
MASK = "action_mask"
_KEYED = f"{OBSERVATION}/"
_MOST_VERSION_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Asked:
    """What the answer to a request must know of it.

    Attributes:
        model: The policy, as it was named.
        id: The request's id.
        outputs: Names of the outputs wanted, in their order.
        raw: Whether the answer's contents shall be raw.
        echo: Parameters that come back, as a part of the answer's message.
        sequence: Name of the sequence; empty for none.
    """

    model: str
    id: str
    outputs: tuple[str, ...] = USUAL
    raw: bool = True
    echo: bytes = b""
    sequence: str = ""


def decode_infer(request: pb.ModelInferRequest, details: RequestDetails, max_rows: int) -> tuple[Asked, Call]:
    """What is asked for, and the call.

    Raises:
        CallError: The request is malformed, whatever the policy.
    """
    parameters = read_parameters(request)
    outputs = check_outputs(request)
    observations, fields = _read_inputs(request)
    arrived_ns = details.arrived_ns or perf_counter_ns()
    version, label = read_version(request.model_version)
    if parameters.sequence_id or parameters.sequence_start is not None:
        _name_episodes(parameters, fields, _rows(observations, max_rows))
    call = Call(
        policy=request.model_name,
        observations=observations,
        mode=parameters.mode,
        version=version,
        version_label=label,
        evidence=EVIDENCE.intersection(outputs),
        arrived_ns=arrived_ns,
        deadline_ns=_deadline_ns(details.deadline_ns, arrived_ns, parameters),
        **fields,
    )
    raw = bool(request.raw_input_contents)
    asked = Asked(request.model_name, request.id, outputs, raw, parameters.echo, parameters.sequence_id)
    return asked, call


def read_version(text: str) -> tuple[int, str]:
    """A version, or a label; 0 and empty where the server shall choose.

    Raises:
        CallError: It can be neither.
    """
    if not text:
        return 0, ""
    if not (text.isascii() and text.isdigit()):
        return 0, text
    if len(text) > _MOST_VERSION_DIGITS or not int(text):
        message = f"model_version is {text[:32]!r}; expected a version from 1, a label, or nothing"
        raise invalid("version", message)
    return int(text), ""


def _deadline_ns(deadline_ns: int, arrived_ns: int, parameters: Parameters) -> int:
    """The nearer one of the caller's deadline and its `timeout`."""
    if not parameters.timeout_ns:
        return deadline_ns
    timeout_ns = arrived_ns + parameters.timeout_ns
    return min(deadline_ns, timeout_ns) if deadline_ns else timeout_ns


def _read_inputs(request: pb.ModelInferRequest) -> tuple[dict[str, RawTensor], dict[str, Any]]:
    """Observations by key, and the call's other fields that tensors fill."""
    observations: dict[str, RawTensor] = {}
    fields: dict[str, Any] = {}
    for name, tensor in read_tensors(request):
        key = _observation_key(name)
        if key is not None:
            place: dict[str, Any] = observations
            value: Any = _raw_tensor(tensor)
        elif name == MASK:
            key, place, value = "action_mask", fields, _raw_tensor(tensor)
        elif name in PER_ROW:
            key, place, value = PER_ROW[name].field, fields, PER_ROW[name].read(tensor)
        else:
            raise _unknown_input(tensor.name)
        if key in place:
            raise invalid("inputs", f"input {tensor.name!r} is given twice; expected it once")
        place[key] = value
    return observations, fields


def _observation_key(name: str) -> str | None:
    """The key in the observation space; empty for a plain one, None where it is another input."""
    if name == OBSERVATION:
        return ""
    return name[len(_KEYED) :] or None if name.startswith(_KEYED) else None


def _unknown_input(name: str) -> CallError:
    known = ", ".join((OBSERVATION, f"{_KEYED}KEY", MASK, *PER_ROW))
    return invalid("inputs", f"input {name!r} is unknown; expected one of {known}")


def _raw_tensor(tensor: Tensor) -> RawTensor:
    if tensor.datatype == BYTES:
        raise invalid("datatype", f"{tensor.name} has datatype BYTES; expected numbers, as its metadata says")
    return RawTensor(tensor.elements, tensor.shape, typed=True)  # type: ignore[arg-type]  # not BYTES


def _rows(observations: Mapping[str, RawTensor], max_rows: int) -> int:
    """How many rows the sequence is for. The first axis says so, without elements behind it to bound it."""
    rows = next((tensor.shape[0] for tensor in observations.values() if tensor.shape), 1)
    if rows > max_rows:
        raise invalid("row_count", f"the call has {rows} rows; expected 1 to {max_rows}")
    return rows


def _name_episodes(parameters: Parameters, fields: dict[str, Any], rows: int) -> None:
    """Fills in episode ids and starts from the sequence."""
    if parameters.sequence_id:
        if "episode_ids" in fields:
            message = "sequence_id and input episode_id are both given; expected one of them"
            raise invalid("sequence_id", message)
        fields["episode_ids"] = _members(parameters.sequence_id, rows)
    if "episode_starts" not in fields:
        fields["episode_starts"] = [bool(parameters.sequence_start)] * rows


def _members(sequence_id: str, rows: int) -> Sequence[str]:
    """The sequence itself is the episode of a single row; several rows are an episode each."""
    return [sequence_id] if rows == 1 else [f"{sequence_id}/{row}" for row in range(rows)]
