"""Layers that compute on 8-bit inputs and weights, in the form that ONNX Runtime fuses (QDQ).

`DequantizeLinear` stands before every input of a layer; the runtime takes the pattern for one integer layer:
`QGemm` and `MatMulIntegerToFloat`, whose output is float32, and `QLinearConv`, whose output is rounded too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from steersman.export.nodes import copied_node
from steersman.export.quantization.editing import consumers, producer, replace_node
from steersman.export.quantization.layers import Layer
from steersman.export.quantization.origins import find_bytes, find_origin
from steersman.export.quantization.ranges import InputScale
from steersman.export.quantization.rounding import RoundedWeights

Array = NDArray[Any]
Vector = NDArray[np.float64]
_CLIPPING = frozenset({"Relu", "Clip"})


def compute_in_eight_bits(
    model: onnx.ModelProto, layer: Layer, rounded: RoundedWeights, bias: Vector, scale: InputScale
) -> None:
    """Gives the layer 8-bit inputs, 8-bit weights with a scale per output, and a 32-bit bias.

    The output stays float32: where nothing rounds it, rounding it would only lose accuracy.
    """
    steps, name = rounded.scales * scale.scale, layer.name
    rows, preparation, constants = _rounded_input(model, layer.source, scale)
    constants |= {
        f"{name}.weight_levels": layer.held(rounded.levels),
        f"{name}.weight_scales": rounded.scales,
        f"{name}.weight_zeros": np.zeros(len(rounded.levels), np.int8),
    }
    preparation.append(_dequantized(name, "weight", axis=layer.axis))
    if layer.node.op_type == "MatMul":
        constants[f"{name}.bias"] = bias.astype(np.float32)
    else:
        constants |= {
            f"{name}.bias_levels": np.clip(np.round(bias / steps), -(2**31), 2**31 - 1).astype(np.int32),
            f"{name}.bias_scales": steps,
            f"{name}.bias_zeros": np.zeros(len(bias), np.int32),
        }
        preparation.append(_dequantized(name, "bias", axis=0))
    replace_node(
        model, layer.node, [*preparation, *layer.nodes(rows, f"{name}.weight", f"{name}.bias")], constants
    )


def _dequantized(name: str, part: str, *, axis: int) -> NodeProto:
    inputs = [f"{name}.{part}_{what}" for what in ("levels", "scales", "zeros")]
    return helper.make_node("DequantizeLinear", inputs, [f"{name}.{part}"], axis=axis)


def _rounded_input(
    model: onnx.ModelProto, source: str, scale: InputScale
) -> tuple[str, list[NodeProto], dict[str, Array]]:
    """Name of the rounded tensor, the nodes that it still needs, and their constants."""
    rows, origin = f"{source}.rounded", find_origin(model, source)
    if producer(model, rows) is not None:
        return rows, [], {}
    scaling = [f"{origin.name}.scale", f"{origin.name}.zero"]
    levels, nodes = _levels(model, origin.name, scaling)
    for move in origin.moves:
        moved = f"{move.output[0]}.levels"
        if producer(model, moved) is None:
            nodes.append(copied_node(move, [levels, *move.input[1:]], moved))
        levels = moved
    nodes.append(helper.make_node("DequantizeLinear", [levels, *scaling], [rows]))
    return rows, nodes, _scaling(scaling, scale)


def _levels(model: onnx.ModelProto, origin: str, scaling: list[str]) -> tuple[str, list[NodeProto]]:
    held = find_bytes(model, origin)
    if held is not None:
        return held.name, []
    levels = f"{origin}.levels"
    if producer(model, levels) is not None:
        return levels, []
    return levels, [helper.make_node("QuantizeLinear", [origin, *scaling], [levels])]


def clipped_output(model: onnx.ModelProto, layer: Layer) -> str:
    """The layer's output, or what a `Relu` or `Clip` that alone takes it makes of it."""
    after = consumers(model, layer.name)
    return str(after[0].output[0]) if len(after) == 1 and after[0].op_type in _CLIPPING else layer.name


def is_rounded(model: onnx.ModelProto, name: str) -> bool:
    """Whether all that take a tensor round it first."""
    outputs = {value.name for value in model.graph.output}
    return name not in outputs and all(node.op_type == "QuantizeLinear" for node in consumers(model, name))


def round_output(model: onnx.ModelProto, name: str, scale: InputScale) -> None:
    """Rounds a tensor for all that take it as it is: an integer convolution cannot give float32."""
    made = producer(model, name)
    assert made is not None  # noqa: S101  it is a layer's output
    levels, rows, scaling = f"{name}.levels", f"{name}.rounded", [f"{name}.scale", f"{name}.zero"]
    for node in consumers(model, name):
        if node.op_type != "QuantizeLinear":
            inputs = [rows if given == name else given for given in node.input]
            del node.input[:]
            node.input.extend(inputs)
    nodes = [
        copied_node(made, list(made.input), name),
        helper.make_node("QuantizeLinear", [name, *scaling], [levels]),
        helper.make_node("DequantizeLinear", [levels, *scaling], [rows]),
    ]
    replace_node(model, made, nodes, _scaling(scaling, scale))


def _scaling(names: Sequence[str], scale: InputScale) -> dict[str, Array]:
    return dict(zip(names, (np.asarray(scale.scale), np.asarray(scale.zero)), strict=True))


def spell_out_clipping(model: onnx.ModelProto, layer: Layer) -> None:
    """Writes a `Relu` or `Clip` after a `Gemm` as `Max` and `Min`, unless rounding follows.

    ONNX Runtime takes the two for a part of the rounding of the layer's output, and where that is missing it
    fuses nothing: the layer would run in float32 on weights unpacked at every call, a single row with other
    bits than a batch (tried with 1.32). Where rounding does follow, they cost nothing and stay.
    """
    for node in consumers(model, layer.name):
        if node.op_type in _CLIPPING and not is_rounded(model, node.output[0]):
            low, high = (*node.input[1:], "", "")[:2]
            constants: dict[str, Array] = {}
            if node.op_type == "Relu":
                low = f"{node.output[0]}.zero_float"
                constants[low] = np.zeros((), np.float32)
            replace_node(model, node, _max_and_min(node, low, high), constants)


def _max_and_min(node: NodeProto, low: str, high: str) -> list[NodeProto]:
    source, output = node.input[0], node.output[0]
    if not high:
        return [helper.make_node("Max", [source, low], [output])]
    if not low:
        return [helper.make_node("Min", [source, high], [output])]
    between = f"{output}.raised"
    return [
        helper.make_node("Max", [source, low], [between]),
        helper.make_node("Min", [between, high], [output]),
    ]
