"""Rounding what flows between layers to 8 bits: which range the 256 levels cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LEVELS = 255
TAILS = (0.0, 1e-4, 1e-3, 1e-2)
"""Shares of the smallest and of the largest values that may saturate; the one that costs least is taken."""
TRIED_VALUES = 1_000_000
"""Values that ranges are tried on; evenly spread over those that were recorded."""


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
    spread = inputs.ravel()[:: -(-inputs.size // TRIED_VALUES)]
    tried = [covering_scale(spread, tail) for tail in TAILS]
    return min(tried, key=lambda scale: float(np.square(scale.applied(spread) - spread).mean()))


def covering_scale(inputs: Array, tail: float) -> InputScale:
    """The scale whose range covers all but `tail` of the inputs at either end; zero is always exact."""
    ends = np.quantile(inputs, [tail, 1.0 - tail])
    low, high = min(float(ends[0]), 0.0), max(float(ends[1]), 0.0)
    scale = np.float32(max(high - low, 1e-6) / LEVELS)
    return InputScale(scale, np.uint8(np.clip(np.round(-low / scale), 0, LEVELS)))
