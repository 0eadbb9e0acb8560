"""Where a layer's input comes from, and where best to round it.

Between an activation and the next layer there may be nodes that only move or choose numbers. Rounding before
them lets ONNX Runtime join it with the layer that came before, and what is moved is a quarter as large.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from steersman.export.quantization.editing import producer
from steersman.export.quantization.ranges import InputScale

MOVING = frozenset({"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "MaxPool"})


@dataclass(frozen=True, slots=True)
class Origin:
    """A tensor behind a layer's input.

    Attributes:
        name: The tensor.
        moves: The nodes between it and the layer, in order.
    """

    name: str
    moves: tuple[NodeProto, ...]


@dataclass(frozen=True, slots=True)
class Bytes:
    """A tensor of bytes that another one is computed from by dividing: rounded already, without loss."""

    name: str
    scale: InputScale


def find_origin(model: onnx.ModelProto, name: str) -> Origin:
    """The first tensor behind this one that is not just moved."""
    moves = list(_moves_behind(model, name))
    return Origin(moves[-1].input[0] if moves else name, tuple(reversed(moves)))


def find_bytes(model: onnx.ModelProto, name: str) -> Bytes | None:
    """The bytes of a tensor that is `Cast(bytes)` or `Cast(bytes) / constant`; None for all others."""
    divisor, node = 1.0, producer(model, name)
    if node is not None and node.op_type == "Div":
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        if node.input[1] not in constants or numpy_helper.to_array(constants[node.input[1]]).size != 1:
            return None
        divisor = numpy_helper.to_array(constants[node.input[1]]).item()
        node = producer(model, node.input[0])
    if node is None or node.op_type != "Cast" or not _holds_bytes(model, node.input[0]):
        return None
    return Bytes(node.input[0], InputScale(np.float32(1 / divisor), np.uint8(0)))


def _holds_bytes(model: onnx.ModelProto, name: str) -> bool:
    origin = find_origin(model, name).name
    return any(
        value.name == origin and value.type.tensor_type.elem_type == TensorProto.UINT8
        for value in model.graph.input
    )


def _moves_behind(model: onnx.ModelProto, name: str) -> Iterator[NodeProto]:
    """From the last to the first."""
    while (node := producer(model, name)) is not None and node.op_type in MOVING:
        yield node
        name = node.input[0]
