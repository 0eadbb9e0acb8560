"""Parameters of a request: Triton's names with Triton's meaning, and `mode`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from steersman.bundle.specs import Mode
from steersman.oip import inference_pb2 as pb
from steersman.serving.errors import CallError, invalid

ECHOED = ("mode", "sequence_id", "sequence_start", "sequence_end")
READ = (*ECHOED, "timeout")
IGNORED = frozenset({"priority", "headers", "binary_data_output", "content_type"})
"""Mean nothing here, but clients send them by themselves."""
RESERVED_PREFIX = "triton_"
_MODES: Mapping[str, Mode] = {"greedy": "greedy", "sampled": "sampled"}
_MOST_TIMEOUT_US = 2**53


class Parameters(NamedTuple):
    """What the parameters ask for.

    Attributes:
        mode: Greedy or sampled.
        sequence_id: Name of the sequence; empty for none.
        sequence_start: Whether the rows begin their episodes; None where that is not said.
        timeout_ns: How long the caller waits; 0 for ever.
        echo: The answer's parameters, as a part of its message; empty where there are none.
    """

    mode: Mode = "greedy"
    sequence_id: str = ""
    sequence_start: bool | None = None
    timeout_ns: int = 0
    echo: bytes = b""


_NONE = Parameters()


def read_parameters(request: pb.ModelInferRequest) -> Parameters:
    """The parameters.

    Raises:
        CallError: One is unknown or has a wrong value.
    """
    if not request.parameters:
        return _NONE
    given = {name: _value(parameter) for name, parameter in request.parameters.items() if _is_read(name)}
    _flag(given, "sequence_end")
    return Parameters(
        mode=_mode(given.get("mode", "greedy")),
        sequence_id=_sequence_id(given.get("sequence_id", "")),
        sequence_start=_flag(given, "sequence_start"),
        timeout_ns=_timeout_ns(given.get("timeout", 0)),
        echo=_echo(request),
    )


def _is_read(name: str) -> bool:
    if name in READ:
        return True
    if name in IGNORED or name.startswith(RESERVED_PREFIX):
        return False
    raise invalid("parameters", f"parameter {name[:64]!r} is unknown; expected one of {', '.join(READ)}")


def _value(parameter: pb.InferParameter) -> Any:
    kind = parameter.WhichOneof("parameter_choice")
    return None if kind is None else getattr(parameter, kind)


def _mode(value: Any) -> Mode:
    if isinstance(value, str) and value in _MODES:
        return _MODES[value]
    raise _wrong("mode", value, 'the string "greedy" or "sampled"')


def _sequence_id(value: Any) -> str:
    """0 and the empty string are no sequence, as in Triton."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value else ""
    raise _wrong("sequence_id", value, "a string or a whole number")


def _flag(given: Mapping[str, Any], name: str) -> bool | None:
    value = given.get(name)
    if name in given and not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def _timeout_ns(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TIMEOUT_US:
        return value * 1000
    raise _wrong("timeout", value, "microseconds, a whole number of at least 0")


def _echo(request: pb.ModelInferRequest) -> bytes:
    answer = pb.ModelInferResponse()
    for name in ECHOED:
        if name in request.parameters:
            answer.parameters[name].CopyFrom(request.parameters[name])
    return answer.SerializeToString()


def _wrong(name: str, value: Any, expected: str) -> CallError:
    return invalid("parameters", f"parameter {name} is {str(value)[:64]!r}; expected {expected}")
