"""Input tensors: from either kind of contents to arrays. Nothing is copied that lies right already."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steersman.oip import inference_pb2 as pb
from steersman.serving.errors import CallError, Code, invalid
from steersman.serving.rpc.oip.datatypes import BYTES, CONTENTS, DTYPES, unframe

MAX_AXES = 16
_NARROW = frozenset({"INT8", "INT16", "UINT8", "UINT16"})
_SHARED_MEMORY = "shared_memory_region"


class Tensor(NamedTuple):
    """A tensor whose contents fit its shape.

    Attributes:
        name: Its name, shortened for messages.
        datatype: Its datatype.
        shape: Sizes of the axes.
        elements: One axis, row-major; a list for BYTES.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: NDArray[Any] | Sequence[bytes]


def read_tensors(request: pb.ModelInferRequest) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of the inputs, in their order.

    Raises:
        CallError: One is malformed, or some are raw and some are not.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        message = f"{len(raw)} raw contents for {len(request.inputs)} inputs; expected one for each, or none"
        raise invalid("raw_contents", message)
    for place, given in enumerate(request.inputs):
        yield given.name, _read(given, raw[place] if raw else None)


def _read(given: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> Tensor:
    name, datatype = given.name[:64], given.datatype
    if given.parameters and _SHARED_MEMORY in given.parameters:
        raise CallError(
            Code.UNIMPLEMENTED, "shared_memory", f"{name}: shared memory is not offered; send the data"
        )
    if datatype not in CONTENTS and datatype not in DTYPES:
        known = ", ".join([*DTYPES, BYTES])
        raise invalid("datatype", f"{name} has datatype {datatype[:16]!r}; expected one of {known}")
    shape = _shape(given, name)
    count = math.prod(shape)
    if raw is None:
        return Tensor(name, datatype, shape, _typed(given, count, name))
    if given.HasField("contents"):
        raise invalid("raw_contents", f"{name} has contents beside raw_input_contents; expected one of them")
    return Tensor(name, datatype, shape, _raw(raw, datatype, count, name))


def _shape(given: pb.ModelInferRequest.InferInputTensor, name: str) -> tuple[int, ...]:
    """The sizes are multiplied, so there must not be many."""
    if len(given.shape) > MAX_AXES:
        raise invalid("tensor", f"{name} has {len(given.shape)} axes; expected at most {MAX_AXES}")
    shape = tuple(given.shape)
    if shape and min(shape) < 0:
        raise invalid("tensor", f"{name} has the shape {list(shape)}; expected sizes of at least 0")
    return shape


def _raw(raw: bytes, datatype: str, count: int, name: str) -> NDArray[Any] | Sequence[bytes]:
    if datatype == BYTES:
        return unframe(raw, count, name)
    dtype = DTYPES[datatype]
    if len(raw) != count * dtype.itemsize:
        message = (
            f"{name} has {len(raw)} bytes; its shape and datatype {datatype} need {count * dtype.itemsize}"
        )
        raise invalid("tensor", message)
    if dtype.kind == "b":
        return np.frombuffer(raw, np.uint8).astype(np.bool_)
    return np.frombuffer(raw, dtype)


def _typed(
    given: pb.ModelInferRequest.InferInputTensor, count: int, name: str
) -> NDArray[Any] | Sequence[bytes]:
    field = CONTENTS.get(given.datatype)
    if field is None:
        raise invalid("tensor", f"{name} has datatype {given.datatype}; expected it in raw_input_contents")
    others = [found.name for found, _ in given.contents.ListFields() if found.name != field]
    if others:
        raise invalid("tensor", f"{name} has {others[0]}; expected {field} alone for {given.datatype}")
    elements: Sequence[Any] = getattr(given.contents, field)
    if len(elements) != count:
        message = f"{name} has {len(elements)} {field}; its shape {list(given.shape)} needs {count}"
        raise invalid("tensor", message)
    return list(elements) if given.datatype == BYTES else _numbers(elements, given.datatype, name)


def _numbers(elements: Sequence[Any], datatype: str, name: str) -> NDArray[Any]:
    """Narrow integers come in fields of 32 bits; what does not fit was never meant."""
    dtype = DTYPES[datatype]
    if datatype not in _NARROW:
        return np.array(elements, dtype)
    wide = np.array(elements, np.int64)
    limits = np.iinfo(dtype)
    if wide.size and not limits.min <= wide.min() <= wide.max() <= limits.max:
        raise invalid(
            "tensor", f"{name} has numbers outside {datatype}; expected {limits.min} to {limits.max}"
        )
    return wide.astype(dtype)
