"""States to compare on: those that the policy comes to, and the corners of the space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from tools.export_coverage.asking import Asked, State, act
from tools.export_coverage.environments import finite_bounds, make_environments
from tools.export_coverage.factors import Cell
from tools.export_coverage.models import Trained
from tools.export_coverage.spaces import Space

Array = NDArray[Any]
COPIES = 8
"""Environments that are played side by side."""

_CORNERS = 24


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of all copies, before it is taken: what is seen, SB3's state, and who begins an episode."""

    observations: Any
    state: State
    start: NDArray[np.bool_]

    @property
    def asked(self) -> Asked:
        """The question to the model."""
        return Asked(self.observations, self.state, self.start)


def played(trained: Trained, cell: Cell, steps: int) -> Iterator[Moment]:
    """Plays with sampled actions, so that states differ, and gives every step."""
    environments = make_environments(cell, COPIES, seed=7)
    observations: Any = environments.reset()
    state: State = _nothing_remembered(trained)
    start = np.ones(COPIES, np.bool_)
    for _ in range(steps):
        moment = Moment(copied(observations), state, start)
        yield moment
        actions, state = act(trained, moment.asked, greedy=False)
        observations, _, start, _ = environments.step(np.asarray(actions))
    environments.close()


def observation_space_of(cell: Cell) -> Space:
    """The space of raw observations, stacked where the cell has it."""
    environments: VecEnv = make_environments(cell, 1, seed=0)
    space: Space = environments.observation_space
    return space


def corners(space: Space, seed: int = 5) -> Any:
    """Lowest, highest, zero, tiny and mixed values; every element of a space without order."""
    chance = np.random.default_rng(seed)
    if isinstance(space, spaces.Dict):
        return {key: corners(part, seed + i) for i, (key, part) in enumerate(space.spaces.items())}
    if isinstance(space, spaces.Box):
        low, high = finite_bounds(space)
        mixed = np.where(chance.random((_CORNERS - 4, *space.shape)) < 0.5, low, high)
        tiny = np.clip(np.full(space.shape, 1e-30), low, high)
        states = [low, high, (low + high) / 2, tiny, *mixed]
        return np.stack(states).astype(space.dtype)
    space.seed(seed)
    lowest = np.full_like(space.sample(), getattr(space, "start", 0))
    return np.stack([lowest, *(space.sample() for _ in range(_CORNERS - 1))])


def joined(observations: Sequence[Any]) -> Any:
    """All rows of several."""
    return _for_each(lambda *parts: np.concatenate(parts), *observations)


def copied(observations: Any) -> Any:
    """Environments may write into what they gave."""
    return _for_each(np.array, observations)


def _for_each(function: Callable[..., Array], *observations: Any) -> Any:
    if isinstance(observations[0], Mapping):
        return {key: function(*(part[key] for part in observations)) for key in observations[0]}
    return function(*observations)


def _nothing_remembered(trained: Trained) -> State:
    shape = getattr(trained.model.policy, "lstm_hidden_state_shape", None)
    if shape is None:
        return None
    zeros = np.zeros((shape[0], COPIES, shape[2]), np.float32)
    return zeros, zeros
