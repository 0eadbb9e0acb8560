"""What a convolution multiplies its weights with: patches of its input as rows of a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Rows = NDArray[np.float32]
PATCHES = 16
"""Patches taken of each input, at random places: neighbouring ones say the same."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """The geometry of a convolution over any number of axes, one entry per axis.

    Attributes:
        shape: Places of the kernel.
        strides: Steps between neighbouring patches.
        dilations: Steps between neighbouring places of the kernel.
        before: Zeros put before the input.
        after: Zeros put after it.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def patches(self, inputs: NDArray[Any], seed: int) -> Rows:
        """[N * PATCHES, channels * places] of inputs [N, channels, *axes]; a seed stands for the places."""
        windows = self._windows(inputs)
        grid = windows.shape[2 : 2 + len(self.shape)]
        chosen = np.random.default_rng(seed).integers(int(np.prod(grid)), size=(len(inputs), PATCHES))
        rows = np.arange(len(inputs))[:, None]
        place: tuple[Any, ...] = (rows, slice(None), *np.unravel_index(chosen, grid))
        return np.asarray(windows[place].reshape(chosen.size, -1), np.float32)

    def _windows(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """[N, channels, *patches, *places], a view of the padded inputs."""
        padded = np.pad(inputs, [(0, 0), (0, 0), *zip(self.before, self.after, strict=True)])
        spans = [(n - 1) * step + 1 for n, step in zip(self.shape, self.dilations, strict=True)]
        axes = tuple(range(2, 2 + len(spans)))
        windows = sliding_window_view(padded, spans, axis=axes)
        steps = [slice(None, None, step) for step in (*self.strides, *self.dilations)]
        return np.asarray(windows[(slice(None), slice(None), *steps)])
