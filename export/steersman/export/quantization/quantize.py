"""Making the 8-bit candidates.

Layers are taken in order. Each one's inputs are watched twice, as trained and as the layers before it now
give them; its weights are corrected for the difference, rounded against those inputs, and its bias set so
that the mean output is kept. Static schemes also round the inputs, with a range chosen on the same states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from steersman.export.quantization.editing import copied
from steersman.export.quantization.layers import Layer, find_layers
from steersman.export.quantization.origins import find_bytes, find_origin
from steersman.export.quantization.patches import Rows
from steersman.export.quantization.ranges import InputScale, choose_scale
from steersman.export.quantization.rounding import (
    RoundedWeights,
    correct_weights,
    corrected_bias,
    round_to_nearest,
    round_weights,
    second_moments,
)
from steersman.export.quantization.static import (
    clipped_output,
    compute_in_eight_bits,
    is_rounded,
    round_output,
    spell_out_clipping,
)
from steersman.export.quantization.watching import watch, watch_values
from steersman.export.quantization.weight_only import hold_in_eight_bits
from steersman.export.vocabulary import Scheme

Array = NDArray[Any]
DENSE_ROWS, CONV_ROWS, LEAST_ROWS = 4_096, 1_024, 256
"""States that a candidate is fitted to: with convolutions, where each gives many rows, fewer; and fewer where
the inputs of the widest layer would take more than `MOST_BYTES`."""
MOST_BYTES = 64 * 1024**2
ENOUGH = 4
"""Rows per input that rounding against inputs needs. With fewer, their correlations are chance: at two, the
head of a convolutional policy came out worse than by nearest rounding; at four, dense layers far better."""


def quantize(model: onnx.ModelProto, scheme: Scheme, feeds: Mapping[str, Array]) -> onnx.ModelProto | None:
    """A copy of the model with 8-bit layers; None when the scheme leaves none to quantize.

    Args:
        model: The fp32 graph.
        scheme: Which layers, and whether their inputs are rounded too.
        feeds: On-policy inputs by name, to choose scales and roundings with.
    """
    layers = [layer for layer in find_layers(model) if _takes_part(layer, scheme)]
    if not layers or (scheme is Scheme.STATIC_QDQ_CONV and all(layer.kernel is None for layer in layers)):
        return None
    quantization = _Quantization(model, _spread(feeds, _enough_rows(layers)), layers)
    for layer in layers:
        if scheme is Scheme.WEIGHT_ONLY:
            quantization.shrink(layer)
        else:
            quantization.compute_in_integers(layer)
    if scheme is not Scheme.WEIGHT_ONLY:
        quantization.finish()
    return quantization.model


def _enough_rows(layers: Sequence[Layer]) -> int:
    if any(layer.kernel is not None for layer in layers):
        return CONV_ROWS
    widest = max(int(layer.weights.shape[1]) for layer in layers)
    return min(DENSE_ROWS, max(LEAST_ROWS, MOST_BYTES // (4 * widest)))


def _spread(feeds: Mapping[str, Array], most: int) -> dict[str, Array]:
    """At most so many rows, evenly spread."""
    rows = len(next(iter(feeds.values())))
    chosen = np.linspace(0, rows - 1, min(rows, most)).astype(np.int64)
    return {name: array[chosen] for name, array in feeds.items()}


def _takes_part(layer: Layer, scheme: Scheme) -> bool:
    if scheme is Scheme.STATIC_QDQ:
        return layer.kernel is None
    if scheme is Scheme.STATIC_QDQ_HIDDEN:
        return layer.kernel is None and not (layer.first or layer.last)
    return True


class _Quantization:
    """One candidate under way; `model` is its graph so far."""

    def __init__(self, exact: onnx.ModelProto, feeds: Mapping[str, Array], layers: list[Layer]) -> None:
        self.model = copied(exact)
        del self.model.graph.value_info[:]
        self._exact, self._feeds, self._layers = exact, feeds, layers
        self._trained = watch(exact, layers, feeds)
        self._scales: dict[str, InputScale] = {}

    def shrink(self, layer: Layer) -> None:
        found = watch(self.model, [layer], self._feeds)[layer.name]
        hold_in_eight_bits(self.model, layer, *self._fit(layer, found))

    def compute_in_integers(self, layer: Layer) -> None:
        found = watch(self.model, [layer], self._feeds)[layer.name]
        scale = self._scale(layer, found)
        compute_in_eight_bits(self.model, layer, *self._fit(layer, scale.applied(found)), scale)

    def finish(self) -> None:
        """What ONNX Runtime needs around integer layers to fuse them."""
        for layer in self._layers:
            if layer.kernel is None:
                spell_out_clipping(self.model, layer)
            elif not is_rounded(self.model, output := clipped_output(self.model, layer)):
                scale = self._scales.get(output) or choose_scale(
                    watch_values(self._exact, output, self._feeds)
                )
                round_output(self.model, output, scale)

    def _scale(self, layer: Layer, found: Rows) -> InputScale:
        """One for all layers that take the same tensor, however it is moved in between."""
        origin = find_origin(self.model, layer.source).name
        if origin not in self._scales:
            held = find_bytes(self.model, origin)
            self._scales[origin] = held.scale if held else choose_scale(found)
        return self._scales[origin]

    def _fit(self, layer: Layer, found: Rows) -> tuple[RoundedWeights, NDArray[np.float64]]:
        """Rounded weights and the bias that goes with them."""
        trained = self._trained[layer.name]
        if len(found) < ENOUGH * found.shape[1]:
            rounded = round_to_nearest(layer.weights)
        else:
            moments = second_moments(found)
            rounded = round_weights(correct_weights(layer.weights, trained, found, moments), moments)
        target = layer.weights @ trained.mean(axis=0, dtype=np.float64) + layer.bias
        return rounded, corrected_bias(target, found, rounded.values)
