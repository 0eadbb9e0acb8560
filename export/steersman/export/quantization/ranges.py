"""Rounding what flows between layers to 8 bits: which range the 256 levels cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LEVELS = 255
TAILS = (1e-5, 1e-4, 1e-3, 1e-2)
"""Shares of the smallest and of the largest values that may saturate, tried beside none at all."""
TRIED_VALUES = 500_000
"""Values that ranges are tried on, drawn from those that were recorded."""


@dataclass(frozen=True, slots=True)
class InputScale:
    """`(level - zero) * scale` for level 0 to 255 are the values that a tensor can take."""

    scale: np.float32
    zero: np.uint8

    def applied(self, inputs: Array) -> NDArray[np.float32]:
        """The inputs as they come out of rounding, in ONNX Runtime's own float32 arithmetic."""
        levels = np.clip(np.rint(inputs.astype(np.float32) / self.scale) + self.zero, 0, LEVELS)
        return np.asarray((levels - np.float32(self.zero)) * self.scale)


def choose_scale(inputs: Array) -> InputScale:
    """The scale with which rounding changes the inputs least, in the mean of squares.

    A narrower range saturates some values and resolves the others better (Nagel et al., A White Paper on
    Neural Network Quantization, 2021, section 3.1).
    """
    tried = drawn(inputs)
    scales = [_scale_of(float(inputs.min()), float(inputs.max())), *(covering_scale(tried, t) for t in TAILS)]
    return min(scales, key=lambda scale: float(np.square(scale.applied(tried) - tried).mean()))


def drawn(inputs: Array) -> Array:
    """At most `TRIED_VALUES` of the values, flat."""
    if inputs.size <= TRIED_VALUES:
        return inputs.ravel()
    return np.asarray(inputs.ravel()[np.random.default_rng(0).integers(inputs.size, size=TRIED_VALUES)])


def covering_scale(inputs: Array, tail: float) -> InputScale:
    """The scale whose range covers all but `tail` of the inputs at either end."""
    low, high = np.quantile(inputs, [tail, 1.0 - tail])
    return _scale_of(float(low), float(high))


def _scale_of(low: float, high: float) -> InputScale:
    """For values from low to high; zero is always exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32(max(high - low, 1e-6) / LEVELS)
    return InputScale(scale, np.uint8(np.clip(np.round(-low / scale), 0, LEVELS)))
