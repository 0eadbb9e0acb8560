"""Samples of the observation space: they stand in for episodes where nothing is known of the environment."""

from __future__ import annotations

from typing import Any

import numpy as np

from steersman.bundle.specs import Mode
from steersman.export.observations import Array, from_sb3
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.oracle import Oracle
from steersman.export.reading.spaces import AnySpace
from steersman.export.sources.asking import ask
from steersman.export.sources.episodes import MOST_BYTES, Rollout
from steersman.export.sources.layout import tensors
from steersman.export.sources.rollouts import LEAST_STEPS

BLOCKS = 20
"""Samples are split into so many blocks at least, which take the place of episodes."""


def sample_space(oracle: Oracle, space: AnySpace, mode: Mode, episodes: int, *, seed: int) -> Rollout:
    """At least `LEAST_STEPS` samples of the raw observation space, in blocks, and the policy's actions.

    A recurrent policy carries its state through each block.
    """
    blocks = max(episodes, BLOCKS)
    length = -(-_rows(space) // blocks)
    space.seed(seed)
    given = [Inputs(_sample(space, length)) for _ in range(blocks)]
    return Rollout(mode, ask(oracle, given, mode, seed=seed), origin="space")


def _rows(space: AnySpace) -> int:
    row = sum(int(np.prod(part.shape or ())) * np.dtype(part.dtype).itemsize for part in _parts(space))
    return max(1, min(LEAST_STEPS, MOST_BYTES // max(1, row)))


def _parts(space: AnySpace) -> list[AnySpace]:
    return list(tensors(space).values())


def _sample(space: AnySpace, count: int) -> dict[str, Array]:
    drawn: list[dict[str, Any]] = [from_sb3(space.sample()) for _ in range(count)]
    return {
        name: np.stack([row[name] for row in drawn]).astype(part.dtype)
        for name, part in tensors(space).items()
    }
