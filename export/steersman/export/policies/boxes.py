"""From a network's numbers to actions of a Box, as `predict` does it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from steersman.bundle.specs import BoxAction, bounds


def delivered_type(space: spaces.Box[Any]) -> np.dtype[Any]:
    """The type of the actions that `predict` gives; a Box of integers gets floats from SB3, never rounded."""
    return np.dtype(np.float32) if np.dtype(space.dtype).kind in "iu" else np.dtype(space.dtype)


class _Box(nn.Module):
    """Bounds and shape of the actions.

    Args:
        action: Its dtype is that of the answers.
        precision: In which bounds are applied to the network's float32.
    """

    low: Tensor
    high: Tensor

    def __init__(self, action: BoxAction, precision: torch.dtype) -> None:
        super().__init__()
        self.shape, self.dtype, self.precision = action.shape, getattr(torch, action.dtype), precision
        low, high = bounds(action)
        self._constant("low", low)
        self._constant("high", high)

    def _constant(self, name: str, values: NDArray[Any]) -> None:
        self.register_buffer(name, torch.tensor(values).to(self.precision), persistent=False)

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat if len(self.shape) == 1 else flat.reshape(-1, *self.shape)


class ClippedToBox(_Box):
    """`numpy.clip` to the bounds, in the wider of float32 and the type of the bounds."""

    def __init__(self, action: BoxAction) -> None:
        super().__init__(action, torch.promote_types(torch.float32, getattr(torch, action.dtype)))

    def forward(self, flat: Tensor) -> Tensor:
        """Maps [N, K] float32 to actions [N, *shape]."""
        wide = self._shaped(flat).to(self.precision)
        return torch.minimum(torch.maximum(wide, self.low), self.high).to(self.dtype)


class ScaledToBox(_Box):
    """`BasePolicy.unscale_action`: from [-1, 1] to the bounds, to the bit.

    That is `low + 0.5 * (action + 1) * (high - low)`. numpy subtracts the bounds in their own type, in which
    integers may even wrap, and adds 1 in float32; what it multiplies is in the wider of the two.

    Args:
        action: Its dtype is that of the answers.
        space: The same action as gymnasium has it.
    """

    half_span: Tensor

    def __init__(self, action: BoxAction, space: spaces.Box[Any]) -> None:
        precision = np.result_type(np.float32, space.dtype)
        super().__init__(action, getattr(torch, precision.name))
        with np.errstate(over="ignore"):
            span = space.high - space.low
        self._constant("half_span", 0.5 * span.astype(precision))

    def forward(self, flat: Tensor) -> Tensor:
        """Maps [N, K] float32 to actions [N, *shape]."""
        ahead = (self._shaped(flat) + 1.0).to(self.precision)
        return (self.low + ahead * self.half_span).to(self.dtype)
