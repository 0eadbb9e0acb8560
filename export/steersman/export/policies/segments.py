"""Choices as segments of mask columns: Discrete, MultiDiscrete and MultiBinary actions in one form.

A Discrete action is one segment, MultiDiscrete one per dimension, MultiBinary a pair [off, on] per switch.
Scores are [N, W], one column per mask column. Inside, they become a grid of one row per segment, so that
arg-max and softmax are single operations however many segments there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from steersman.bundle.specs import ActionSpec, DiscreteAction
from steersman.export.reading.spaces import AnySpace

Array = NDArray[Any]
NOTHING = -1
"""The choice of a segment whose mask allows none; as an action it is one below the first."""


class Segments(nn.Module):
    """The layout of mask columns, in torch.

    Grids are [N, W] for a Discrete action and [N, D, M] otherwise: D segments, M the widest. Choices and
    actions are [N] for a Discrete action and [N, D] otherwise.

    Args:
        action: Any action with mask segments.
    """

    columns: Tensor
    real: Tensor
    cells: Tensor

    def __init__(self, action: ActionSpec) -> None:
        super().__init__()
        widths = action.mask_segments
        self.single = isinstance(action, DiscreteAction)
        self.shape = (len(widths), max(widths))
        self.ragged = len(set(widths)) > 1
        self.start = getattr(action, "start", 0)
        self.dtype = getattr(torch, action.dtype)
        real = np.arange(self.shape[1]) < np.array(widths)[:, None]
        columns = np.zeros(real.shape, np.int64)
        columns[real] = np.arange(sum(widths))
        self.register_buffer("columns", torch.from_numpy(columns.ravel()), persistent=False)
        self.register_buffer("real", torch.from_numpy(real), persistent=False)
        self.register_buffer("cells", torch.from_numpy(np.flatnonzero(real)), persistent=False)

    def grid(self, values: Tensor, filler: float) -> Tensor:
        """[N, W] as a grid; cells that belong to no column hold the filler."""
        if self.single:
            return values
        if not self.ragged:
            return values.reshape(-1, *self.shape)
        return torch.where(self.real, values[:, self.columns].reshape(-1, *self.shape), filler)

    def flat(self, grid: Tensor) -> Tensor:
        """A grid as [N, W]."""
        if self.single:
            return grid
        cells = grid.flatten(1)
        return cells[:, self.cells] if self.ragged else cells

    def masked(self, scores: Tensor, action_mask: Tensor) -> Tensor:
        """Grid of scores [N, W], minus infinity where the mask [N, W] is false."""
        return self.grid(torch.where(action_mask, scores, -math.inf), -math.inf)

    def best(self, grid: Tensor) -> Tensor:
        """Actions: the first of the highest in each segment; none where all are minus infinity or NaN.

        A column in front, lower than every number, wins there, so that choices are counted from 1.
        """
        ahead = nn.functional.pad(grid, (1, 0), value=torch.finfo(grid.dtype).min)
        return self._actions(torch.argmax(ahead, dim=-1), self.start - 1)

    def draw(self, log_probs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions by Gumbel's trick, and the log probability of each choice.

        Args:
            log_probs: Grid, masked; NaN in segments that allow nothing, which get none.
            noise: Grid of `negative_gumbel`.
        """
        drawn = torch.argmax(log_probs.double() - noise, dim=-1, keepdim=True)
        log_prob = log_probs.gather(-1, drawn).squeeze(-1)
        choices = torch.where(log_prob.isnan(), NOTHING, drawn.squeeze(-1))
        return self._actions(choices, self.start), log_prob

    def _actions(self, choices: Tensor, first: int) -> Tensor:
        """Choices as the environment has them, where it calls the one numbered 0 by `first`."""
        return (choices + first if first else choices).to(self.dtype)

    def total(self, values: Tensor) -> Tensor:
        """Sums over segments what has the shape of choices, to [N]."""
        return values if self.single else values.sum(dim=1)


def negative_gumbel(uniforms: Tensor) -> Tensor:
    """log(-log u) in float64 of uniforms in (0, 1): arg-max of log p - log(-log u) is a draw from p.

    Gumbel 1954; Maddison, Tarlow, Minka: A* Sampling, NeurIPS 2014, section 2.
    """
    return torch.log(-torch.log(uniforms.double()))


def segment_widths(space: AnySpace) -> tuple[int, ...]:
    """Width of each mask segment of an action space; empty for a Box."""
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, spaces.MultiDiscrete):
        return tuple(map(int, space.nvec))
    return (2,) * math.prod(space.shape) if isinstance(space, spaces.MultiBinary) else ()


def split(scores: Array, widths: Sequence[int]) -> list[Array]:
    """[N, W] by segment."""
    return np.split(scores, np.cumsum(widths)[:-1], axis=1)


def masked_scores(scores: Array, action_mask: NDArray[np.bool_] | None) -> Array:
    """Scores [N, W], minus infinity where the mask is false."""
    return scores if action_mask is None else np.where(action_mask, scores, -np.inf).astype(scores.dtype)


def best_choices(scores: Array, widths: Sequence[int]) -> NDArray[np.int64]:
    """[N, D], the first of the highest in each segment; `NOTHING` where no score is a number or infinite."""
    parts = split(np.where(np.isnan(scores), -np.inf, scores), widths)
    choices = [np.where(np.isneginf(part.max(axis=1)), NOTHING, part.argmax(axis=1)) for part in parts]
    return np.stack(choices, axis=1)


def margins(scores: Array, widths: Sequence[int]) -> NDArray[np.float64]:
    """[N], the least of `segment_margins`."""
    return np.asarray(segment_margins(scores, widths).min(axis=1))


def segment_margins(scores: Array, widths: Sequence[int]) -> NDArray[np.float64]:
    """[N, D], in each segment the best score less the second best; infinite without a second."""
    parts = [_margin(part.astype(np.float64)) for part in split(scores, widths)]
    return np.stack(parts, axis=1)


def _margin(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if scores.shape[1] == 1:
        return np.full(len(scores), np.inf)
    second, best = np.partition(scores, -2, axis=1)[:, -2:].T
    with np.errstate(invalid="ignore"):
        return np.where(np.isneginf(second) | np.isnan(best), np.inf, best - second)


def as_actions(choices: Array, space: AnySpace) -> Array:
    """Choices [N, D] as actions of the space, [N, ...]; a Discrete space counts from its start."""
    if isinstance(space, spaces.Discrete):
        return np.asarray(choices[:, 0] + space.start).astype(space.dtype)
    return choices.astype(space.dtype)


def from_sb3(actions: Array, space: AnySpace) -> Array:
    """What `predict` answers for an action space with segments, as the environment takes it."""
    return as_actions(actions.reshape(len(actions), -1).round().astype(np.int64), space)
