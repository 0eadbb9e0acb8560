"""Samples of the observation space: they stand in for episodes where nothing is known of the environment."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from stable_baselines3.common.preprocessing import is_image_space

from steersman.bundle.specs import Mode
from steersman.export.observations import Array
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.oracle import Oracle
from steersman.export.reading.spaces import AnySpace
from steersman.export.sources.asking import ask
from steersman.export.sources.episodes import BLOCKS, MOST_BYTES, Rollout
from steersman.export.sources.layout import tensors
from steersman.export.sources.rollouts import LEAST_STEPS, mode_count

LARGEST = 1e6
"""Bounds beyond this are as good as none."""
LARGEST_COUNT = 1_000
"""What integers without bounds are drawn up to."""


def sample_space(oracle: Oracle, space: AnySpace, mode: Mode, episodes: int, *, seed: int) -> Rollout:
    """Samples of the raw observation space, in blocks, and the policy's actions.

    There are as many as episodes would have steps at least, fewer where memory is short. A recurrent policy
    carries its state through each block.
    """
    blocks = max(episodes, BLOCKS)
    length = -(-_rows(space, mode_count(oracle)) // blocks)
    rng = np.random.default_rng((seed, mode == "sampled"))  # no state comes twice, or it would count twice
    given = [
        Inputs({name: _sample(part, length, rng) for name, part in tensors(space).items()})
        for _ in range(blocks)
    ]
    return Rollout(mode, ask(oracle, given, mode, seed=seed), origin="space")


def _rows(space: AnySpace, modes: int) -> int:
    parts = tensors(space).values()
    row = sum(int(np.prod(part.shape or ())) * np.dtype(part.dtype).itemsize for part in parts)
    return max(1, min(LEAST_STEPS, MOST_BYTES // max(1, row)) // modes)


def _sample(space: AnySpace, count: int, rng: np.random.Generator) -> Array:
    """[count, *shape]; images by the generator itself, as gymnasium draws in float64, far slower."""
    if is_image_space(space):
        return rng.integers(0, 256, (count, *(space.shape or ())), np.uint8)
    batch = batch_space(_usual(space), count)
    batch.seed(int(rng.integers(2**31)))
    return np.asarray(batch.sample()).astype(space.dtype)


def _usual(space: AnySpace) -> AnySpace:
    """The space with bounds that no sensor reaches taken for none, as old versions of gym wrote those.

    Unbounded floats are drawn from a standard normal distribution, unbounded integers up to `LARGEST_COUNT`.
    """
    if not isinstance(space, spaces.Box):
        return space
    floats = np.dtype(space.dtype).kind == "f"
    most = np.inf if floats else LARGEST_COUNT
    low = np.where(space.low.astype(np.float64) < -LARGEST, -most, space.low)
    high = np.where(space.high.astype(np.float64) > LARGEST, most, space.high)
    return spaces.Box(low.astype(space.dtype), high.astype(space.dtype), dtype=np.dtype(space.dtype).type)
