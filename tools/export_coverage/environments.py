"""An environment for any pair of spaces, with states that depend on the actions taken."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize
from tools.export_coverage.factors import Cell
from tools.export_coverage.spaces import FRAMES, Space, action_space, observation_space

ENV_ID = "ExportCoverage-v0"
Vector = NDArray[np.float64]

_HIDDEN = 6
_LONGEST = 45


class AnySpaces(gymnasium.Env[Any, Any]):
    """A drifting hidden vector, pushed by actions and shown through the observation space.

    Episodes end after 5 to 45 steps, so that copies of it do not end together.

    Args:
        observation: Name of the observation space.
        action: Name of the action space.
    """

    def __init__(self, observation: str, action: str) -> None:
        self.observation_space = observation_space(observation)
        self.action_space = action_space(action)
        self._hidden = np.zeros(_HIDDEN)
        self._left = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """A new hidden vector and a new length."""
        super().reset(seed=seed, options=options)
        self._hidden = self.np_random.normal(size=_HIDDEN)
        self._left = int(self.np_random.integers(5, _LONGEST + 1))
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Pushes the hidden vector by the action's sum."""
        push = 0.1 * float(np.sum(action)) * np.cos(np.arange(_HIDDEN))
        self._hidden = 0.9 * self._hidden + np.clip(push, -1, 1) + 0.3 * self.np_random.normal(size=_HIDDEN)
        self._left -= 1
        return self._observe(), -float(np.abs(self._hidden).mean()), self._left <= 0, False, {}

    def action_masks(self) -> NDArray[np.bool_]:
        """What MaskablePPO asks for: everything is allowed, except the last choice now and then."""
        mask = np.ones(mask_width(self.action_space), np.bool_)
        mask[-1] = self._left % 3 > 0
        return mask

    def _observe(self) -> Any:
        if isinstance(self.observation_space, spaces.Dict):
            parts = enumerate(self.observation_space.spaces.items())
            return {key: show(self._hidden + i, space) for i, (key, space) in parts}
        return show(self._hidden, self.observation_space)


def show(hidden: Vector, space: Space) -> Any:
    """The hidden vector as an element of the space."""
    if isinstance(space, spaces.Discrete):
        return np.int64(space.start + int(_shares(hidden, 1)[0] * space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return (_shares(hidden, len(space.nvec)) * space.nvec).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return (_shares(hidden, int(np.prod(space.shape))) > 0.5).astype(space.dtype).reshape(space.shape)
    assert isinstance(space, spaces.Box)  # noqa: S101  no other spaces are made
    low, high = finite_bounds(space)
    shares = _shares(hidden, low.size).reshape(space.shape)
    return (low + shares * (high - low)).astype(space.dtype)


def _shares(hidden: Vector, size: int) -> Vector:
    """Numbers in [0, 1) that the hidden vector decides."""
    place = np.arange(size)
    return (0.5 + 0.499 * np.sin(hidden[place % _HIDDEN] * (1 + place // _HIDDEN) + place)).astype(np.float64)


def finite_bounds(space: spaces.Box) -> tuple[Vector, Vector]:
    """Lowest and highest value of every element; 20 apart where there is no bound."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    open_low, open_high = ~np.isfinite(low), ~np.isfinite(high)
    low[open_low] = np.where(open_high, -10, high - 20)[open_low]
    high[open_high] = (low + 20)[open_high]
    return low, high


def mask_width(space: Space) -> int:
    """Columns of a mask of the action space; 0 for a Box."""
    return sum(mask_segments(space))


def mask_segments(space: Space) -> tuple[int, ...]:
    """Choices of each part of the action space, as sb3-contrib lays masks out; none for a Box."""
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, spaces.MultiDiscrete):
        return tuple(map(int, space.nvec))
    return (2,) * int(np.prod(space.shape)) if isinstance(space, spaces.MultiBinary) else ()


def make_environments(cell: Cell, copies: int, seed: int) -> VecEnv:
    """Copies of the cell's environment, stacked where it says so; not normalized."""
    make = partial(AnySpaces, cell.observation, cell.action)
    environments: VecEnv = DummyVecEnv([make] * copies)
    environments.seed(seed)
    return VecFrameStack(environments, FRAMES) if cell.observation.endswith("stacked") else environments


def normalize(environments: VecEnv, cell: Cell) -> VecEnv:
    """The same with VecNormalize, where the cell has it."""
    if cell.statistics == "raw":
        return environments
    keys = ["speed"] if cell.statistics == "some keys normalized" else None
    return VecNormalize(environments, norm_obs_keys=keys)


gymnasium.register(ENV_ID, entry_point=f"{__name__}:AnySpaces")
