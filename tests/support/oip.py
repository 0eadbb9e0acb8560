"""Requests of the Open Inference Protocol, and answers read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.oip import inference_pb2 as pb
from steersman.serving.deciding.call import Call
from steersman.serving.rpc.methods import RequestDetails
from steersman.serving.rpc.oip.datatypes import BYTES, CONTENTS, DATATYPES, DTYPES, frame, unframe
from steersman.serving.rpc.oip.requests import Asked, decode_infer

MAX_ROWS = 64


def infer_request(
    inputs: Mapping[str, Any],
    *,
    typed: bool = False,
    outputs: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    **fields: Any,
) -> pb.ModelInferRequest:
    """A request; arrays have their own datatypes, lists of bytes are BYTES."""
    request = pb.ModelInferRequest(**{"model_name": "toy", **fields})
    for name, values in inputs.items():
        add_input(request, name, values, typed=typed)
    request.outputs.extend(pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs)
    for name, value in (parameters or {}).items():
        set_parameter(request.parameters[name], value)
    return request


def add_input(request: pb.ModelInferRequest, name: str, values: Any, *, typed: bool = False) -> None:
    """Adds a tensor, raw or typed."""
    array = values if isinstance(values, np.ndarray) else None
    datatype = BYTES if array is None else DATATYPES[array.dtype.name]  # type: ignore[index]
    shape = (len(values),) if array is None else array.shape
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    if typed:
        elements = values if array is None else array.ravel().tolist()
        getattr(tensor.contents, CONTENTS[datatype]).extend(elements)
    else:
        request.raw_input_contents.append(frame(values) if array is None else array.tobytes())


def set_parameter(parameter: pb.InferParameter, value: Any) -> None:
    """The member of the oneof that is for the value's type."""
    kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
    setattr(parameter, kind, value)


def rows(*values: Sequence[float]) -> NDArray[np.float32]:
    """Observations of the toy policy."""
    return np.array(values or ([1, 3, 2, 0],), np.float32)


def decode(request: pb.ModelInferRequest, **details: Any) -> tuple[Asked, Call]:
    """As the server does."""
    return decode_infer(request, RequestDetails(**details), MAX_ROWS)


def read_answer(payload: bytes | pb.ModelInferResponse) -> dict[str, Any]:
    """Outputs by name: arrays, or lists of bytes."""
    answer = pb.ModelInferResponse.FromString(payload) if isinstance(payload, bytes) else payload
    found: dict[str, Any] = {}
    for place, output in enumerate(answer.outputs):
        raw = answer.raw_output_contents[place] if answer.raw_output_contents else None
        if output.datatype == BYTES:
            count = int(np.prod(output.shape))
            texts = output.contents.bytes_contents
            found[output.name] = list(texts) if raw is None else list(unframe(raw, count, output.name))
        elif raw is None:
            typed = getattr(output.contents, CONTENTS[output.datatype])
            found[output.name] = np.array(typed, DTYPES[output.datatype]).reshape(output.shape)
        else:
            found[output.name] = np.frombuffer(raw, DTYPES[output.datatype]).reshape(output.shape)
    return found
