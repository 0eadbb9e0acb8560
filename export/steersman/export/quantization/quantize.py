"""Making the 8-bit candidates.

Layers are taken in order. Each one's inputs are watched twice, as trained and as the layers before it now
give them; its weights are corrected for the difference, rounded against those inputs, and its bias set so
that the mean output is kept. Static schemes also round the inputs, with a range chosen on the same states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from steersman.export.quantization.layers import Layer, find_layers, replace_layer, watch
from steersman.export.quantization.rounding import (
    Matrix,
    RoundedWeights,
    correct_weights,
    corrected_bias,
    round_to_nearest,
    round_weights,
    second_moments,
)
from steersman.export.vocabulary import Scheme

Array = NDArray[Any]
Vector = NDArray[np.float64]
INPUT_LEVELS = 255


@dataclass(frozen=True, slots=True)
class InputScale:
    """`(level - zero) * scale` for level 0 to 255 are the values that a layer's input can take."""

    scale: np.float32
    zero: np.uint8

    def applied(self, inputs: Matrix) -> Matrix:
        """The inputs as they come out of rounding."""
        levels = np.clip(np.round(inputs / self.scale) + self.zero, 0, INPUT_LEVELS)
        return np.asarray((levels - self.zero) * float(self.scale))


def quantize(
    model: onnx.ModelProto,
    scheme: Scheme,
    feeds: Mapping[str, Array],
    *,
    tail: float = 0.0,
    careful: bool = True,
) -> onnx.ModelProto | None:
    """A copy of the model with 8-bit layers; None when the scheme leaves none to quantize.

    Args:
        model: The fp32 graph.
        scheme: Which layers, and whether their inputs are rounded too.
        feeds: On-policy inputs by name, to choose scales and roundings with.
        tail: Share of the smallest and of the largest inputs that a static scheme lets saturate.
        careful: False rounds every weight by itself, which is enough to compare ranges with.
    """
    layers = [layer for layer in find_layers(model) if _takes_part(layer, scheme)]
    if not layers:
        return None
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    trained = watch(model, [layer.source for layer in layers], feeds)
    scales: dict[str, InputScale] = {}
    for layer in layers:
        found = watch(quantized, [layer.source], feeds)[layer.source]
        scale = None
        if scheme is not Scheme.WEIGHT_ONLY:
            scale = scales.setdefault(layer.source, input_scale(found, tail))
            found = scale.applied(found)
        rounded, bias = _fit(layer, trained[layer.source], found, careful=careful)
        if scale is None:
            _replace_weights(quantized, layer, rounded, bias)
        else:
            _replace_static(quantized, layer, rounded, bias, scale)
    for layer in layers if scales else ():
        _spell_out_clipping(quantized, layer)
    return quantized


def input_scale(inputs: Matrix, tail: float) -> InputScale:
    """The scale whose range covers all but `tail` of the inputs at either end; zero is always exact."""
    low = min(float(np.quantile(inputs, tail)), 0.0)
    high = max(float(np.quantile(inputs, 1.0 - tail)), 0.0)
    scale = np.float32(max(high - low, 1e-6) / INPUT_LEVELS)
    return InputScale(scale, np.uint8(np.clip(np.round(-low / scale), 0, INPUT_LEVELS)))


def _takes_part(layer: Layer, scheme: Scheme) -> bool:
    return scheme is not Scheme.STATIC_QDQ_HIDDEN or not (layer.first or layer.last)


def _fit(layer: Layer, trained: Matrix, found: Matrix, *, careful: bool) -> tuple[RoundedWeights, Vector]:
    """Rounded weights and the bias that goes with them."""
    if careful:
        moments = second_moments(found)
        rounded = round_weights(correct_weights(layer.weights, trained, found, moments), moments)
    else:
        rounded = round_to_nearest(layer.weights)
    target = layer.weights @ trained.mean(axis=0) + layer.bias
    return rounded, corrected_bias(target, found, rounded.values)


def _replace_weights(model: onnx.ModelProto, layer: Layer, rounded: RoundedWeights, bias: Vector) -> None:
    """Weights as int8, unpacked by `Cast` and `Mul`.

    ONNX Runtime folds these two when it loads the model, so the layer runs as a float32 one. It does not fold
    `DequantizeLinear`: every call would unpack the weights again, and a single row be multiplied by
    another kernel than a batch, with other bits (tried with 1.32).
    """
    levels, scales, unpacked, weights, shift = (f"{layer.name}.{part}" for part in _PARTS)
    preparation = [
        helper.make_node("Cast", [levels], [unpacked], to=TensorProto.FLOAT),
        helper.make_node("Mul", [unpacked, scales], [weights]),
    ]
    constants: dict[str, Array] = {
        levels: rounded.levels,
        scales: rounded.scales[:, None],
        shift: bias.astype(np.float32),
    }
    replace_layer(model, layer, preparation, [layer.source, weights, shift], constants)


_PARTS = ("levels", "scales", "unpacked", "weights", "bias")


def _replace_static(
    model: onnx.ModelProto, layer: Layer, rounded: RoundedWeights, bias: Vector, scale: InputScale
) -> None:
    """8-bit inputs and weights with a 32-bit bias, as ONNX Runtime fuses them to `QGemm`.

    The output stays float32: rounding it before the activation would only lose accuracy.
    """
    steps = rounded.scales * scale.scale
    name, rows = layer.name, f"{layer.source}.rounded"
    constants: dict[str, Array] = {
        f"{layer.source}.scale": np.asarray(scale.scale),
        f"{layer.source}.zero": np.asarray(scale.zero),
        f"{name}.levels": rounded.levels,
        f"{name}.scales": rounded.scales,
        f"{name}.zeros": np.zeros(len(rounded.levels), np.int8),
        f"{name}.bias_levels": np.clip(np.round(bias / steps), -(2**31), 2**31 - 1).astype(np.int32),
        f"{name}.bias_scales": steps,
        f"{name}.bias_zeros": np.zeros(len(bias), np.int32),
    }
    preparation = [
        _dequantized(f"{name}.levels", f"{name}.scales", f"{name}.zeros", f"{name}.weights"),
        _dequantized(f"{name}.bias_levels", f"{name}.bias_scales", f"{name}.bias_zeros", f"{name}.bias"),
    ]
    if not any(rows in node.output for node in model.graph.node):
        preparation = [*_rounded_input(layer.source, rows), *preparation]
    replace_layer(model, layer, preparation, [rows, f"{name}.weights", f"{name}.bias"], constants)


def _spell_out_clipping(model: onnx.ModelProto, layer: Layer) -> None:
    """Writes a `Relu` or `Clip` after the layer as `Max` and `Min`.

    ONNX Runtime takes the two for a part of the rounding of the layer's output, and where that is missing it
    fuses nothing: the layer would run in float32 on weights unpacked at every call, a single row with other
    bits than a batch (tried with 1.32). Where rounding does follow, they cost nothing and stay.
    """
    nodes = model.graph.node
    for place, node in enumerate(nodes):
        clips = node.op_type in {"Relu", "Clip"} and layer.name in node.input
        if clips and not _is_rounded(model, node.output[0]):
            spelled = _as_max_and_min(model, node)
            rest = [*nodes[:place], *spelled, *nodes[place + 1 :]]
            del nodes[:]
            nodes.extend(rest)
            return


def _is_rounded(model: onnx.ModelProto, name: str) -> bool:
    return all(node.op_type == "QuantizeLinear" for node in model.graph.node if name in node.input)


def _as_max_and_min(model: onnx.ModelProto, node: NodeProto) -> list[NodeProto]:
    source, output = node.input[0], node.output[0]
    low, high = (*node.input[1:], "", "")[:2]
    if node.op_type == "Relu":
        low = f"{output}.zero_float"
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), low))
    if not high:
        return [helper.make_node("Max", [source, low], [output])]
    if not low:
        return [helper.make_node("Min", [source, high], [output])]
    between = f"{output}.raised"
    return [
        helper.make_node("Max", [source, low], [between]),
        helper.make_node("Min", [between, high], [output]),
    ]


def _rounded_input(source: str, rows: str) -> list[NodeProto]:
    scale, zero = f"{source}.scale", f"{source}.zero"
    return [
        helper.make_node("QuantizeLinear", [source, scale, zero], [f"{source}.levels"]),
        helper.make_node("DequantizeLinear", [f"{source}.levels", scale, zero], [rows]),
    ]


def _dequantized(levels: str, scales: str, zeros: str, name: str) -> NodeProto:
    return helper.make_node("DequantizeLinear", [levels, scales, zeros], [name], axis=0)
