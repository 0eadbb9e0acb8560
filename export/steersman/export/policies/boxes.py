"""From a network's numbers to actions of a Box, as `predict` does it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steersman.bundle.specs import BoxAction, bounds


class _Box(nn.Module):
    """Bounds and shape of the actions."""

    low: Tensor
    high: Tensor

    def __init__(self, action: BoxAction) -> None:
        super().__init__()
        low, high = bounds(action)
        self.shape, self.dtype = action.shape, getattr(torch, action.dtype)
        self.precision = torch.promote_types(torch.float32, self.dtype)
        """numpy compares and rescales float32 actions in the wider of the two types."""
        self.register_buffer("low", torch.from_numpy(low.copy()).to(self.precision), persistent=False)
        self.register_buffer("high", torch.from_numpy(high.copy()).to(self.precision), persistent=False)

    def _shaped(self, flat: Tensor) -> Tensor:
        shaped = flat if len(self.shape) == 1 else flat.reshape(-1, *self.shape)
        return shaped.to(self.precision)


class ClippedToBox(_Box):
    """`numpy.clip` to the bounds."""

    def forward(self, flat: Tensor) -> Tensor:
        """Maps [N, K] float32 to actions [N, *shape]."""
        return torch.minimum(torch.maximum(self._shaped(flat), self.low), self.high).to(self.dtype)


class ScaledToBox(_Box):
    """`BasePolicy.unscale_action`: from [-1, 1] to the bounds."""

    def forward(self, flat: Tensor) -> Tensor:
        """Maps [N, K] float32 to actions [N, *shape]."""
        actions = self.low + 0.5 * (self._shaped(flat) + 1.0) * (self.high - self.low)
        return actions.to(self.dtype)
