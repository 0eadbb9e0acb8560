"""Weights as int8, computed with as float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from steersman.export.quantization.editing import replace_node
from steersman.export.quantization.layers import Layer
from steersman.export.quantization.rounding import RoundedWeights

Array = NDArray[Any]


def hold_in_eight_bits(model: onnx.ModelProto, layer: Layer, rounded: RoundedWeights, bias: Array) -> None:
    """Unpacks weights by `Cast` and `Mul`.

    ONNX Runtime folds these two when it loads the model, so the layer runs as a float32 one. It does not fold
    `DequantizeLinear`: every call would unpack the weights again, and a single row be multiplied by
    another kernel than a batch, with other bits (tried with 1.32).
    """
    name = layer.name
    levels, scales, unpacked, weights, shift = (f"{name}.{part}" for part in _PARTS)
    nodes = [
        helper.make_node("Cast", [levels], [unpacked], to=TensorProto.FLOAT),
        helper.make_node("Mul", [unpacked, scales], [weights]),
        *layer.nodes(layer.source, weights, shift),
    ]
    constants: dict[str, Array] = {
        levels: layer.held(rounded.levels),
        scales: layer.along_outputs(rounded.scales),
        shift: bias.astype(np.float32),
    }
    replace_node(model, layer.node, nodes, constants)


_PARTS = ("weight_levels", "weight_scales", "weight_unpacked", "weight", "bias")
