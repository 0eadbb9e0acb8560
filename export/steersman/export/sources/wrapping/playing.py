"""Wrappers for playing that no installed library has: rl-baselines3-zoo's own, and SB3's frame stack.

Each does to observations and actions what the original does (`rl_zoo3/wrappers.py`;
`stable_baselines3/common/vec_env/stacked_observations.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from steersman.export.observations import as_sb3, from_sb3
from steersman.export.reading.spaces import AnySpace
from steersman.export.sources.layout import tensors, with_tensors
from steersman.export.sources.wrapping.stacking import stack_axis, stacked

Array = NDArray[Any]
Environment = gymnasium.Env[Any, Any]
AnyWrapper = gymnasium.Wrapper[Any, Any, Any, Any]
Stepped = tuple[Any, Any, bool, bool, dict[str, Any]]


class FrameStack(AnyWrapper):
    """The last observations side by side, the newest last; before an episode's first stands `fill`.

    Args:
        env: Gives a Box, or a Dict of them.
        frames: How many observations.
        fill: By graph input name, one observation; such tensors become float64. Others are filled with zeros.
    """

    def __init__(self, env: Environment, frames: int, fill: Mapping[str, Any] | None = None) -> None:
        super().__init__(env)
        space = filled(env.observation_space, fill or {})
        self._empty = {
            name: np.broadcast_to((fill or {}).get(name, 0), part.shape or ()).astype(part.dtype)
            for name, part in tensors(space).items()
        }
        self._axes = {name: stack_axis(part) for name, part in tensors(space).items()}
        self._frames = {name: [empty] * frames for name, empty in self._empty.items()}
        self.observation_space = stacked(space, frames)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begins an episode with nothing before it."""
        observation, info = self.env.reset(**kwargs)
        for name, frames in self._frames.items():
            frames[:] = [self._empty[name]] * len(frames)
        return self._pushed(observation), info

    def step(self, action: Any) -> Stepped:
        """Adds the observation that follows."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._pushed(observation), reward, terminated, truncated, info

    def _pushed(self, observation: Any) -> Any:
        shown = from_sb3(observation)
        for name, frames in self._frames.items():
            frames[:] = [*frames[1:], shown[name].astype(frames[0].dtype)]
        return as_sb3({n: np.concatenate(f, axis=self._axes[n]) for n, f in self._frames.items()})


def filled(space: AnySpace, fill: Mapping[str, Any]) -> AnySpace:
    """The space with float64 for the tensors that are filled with other numbers than zero."""
    parts = tensors(space)
    for name in fill:
        part = parts[name]
        assert isinstance(part, spaces.Box)  # noqa: S101  nothing else is stacked
        parts[name] = spaces.Box(part.low.astype(np.float64), part.high.astype(np.float64), dtype=np.float64)
    return with_tensors(space, parts)


class History(AnyWrapper):
    """The last observations, then the last actions, oldest first, zeros before an episode's first.

    In a Dict it is the observation under `observation` that grows so.

    Args:
        env: Gives and takes vectors.
        horizon: How many of each.
    """

    def __init__(self, env: Environment, horizon: int = 2) -> None:
        super().__init__(env)
        own, action = _observed(env.observation_space), env.action_space
        assert isinstance(own, spaces.Box)  # noqa: S101  as the original
        assert isinstance(action, spaces.Box)  # noqa: S101
        low, high = (
            np.concatenate([np.tile(getattr(own, bound), horizon), np.tile(getattr(action, bound), horizon)])
            for bound in ("low", "high")
        )
        grown = spaces.Box(low.astype(own.dtype), high.astype(own.dtype), dtype=np.dtype(own.dtype).type)
        self.observation_space = _replaced(env.observation_space, grown)
        self._observations = np.zeros((horizon, *own.shape), own.dtype)
        self._actions = np.zeros((horizon, *action.shape), action.dtype)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begins an episode with no history."""
        observation, info = self.env.reset(**kwargs)
        self._observations[:], self._actions[:] = 0, 0
        return self._remembered(observation), info

    def step(self, action: Any) -> Stepped:
        """Adds the action and what followed."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._actions = np.concatenate([self._actions[1:], [action]]).astype(self._actions.dtype)
        return self._remembered(observation), reward, terminated, truncated, info

    def _remembered(self, observation: Any) -> Any:
        newest = observation["observation"] if isinstance(observation, Mapping) else observation
        self._observations = np.concatenate([self._observations[1:], [newest]]).astype(
            self._observations.dtype
        )
        grown = np.concatenate([self._observations.ravel(), self._actions.ravel()])
        return {**observation, "observation": grown} if isinstance(observation, Mapping) else grown


def _observed(space: AnySpace) -> AnySpace:
    return space.spaces["observation"] if isinstance(space, spaces.Dict) else space


def _replaced(space: AnySpace, grown: AnySpace) -> AnySpace:
    if not isinstance(space, spaces.Dict):
        return grown
    return spaces.Dict({**space.spaces, "observation": grown})


class FrameSkip(AnyWrapper):
    """Every action is taken for several steps, and what is seen between is not shown.

    Args:
        env: The environment.
        skip: How many steps.
    """

    def __init__(self, env: Environment, skip: int = 4) -> None:
        super().__init__(env)
        self._skip = skip

    def step(self, action: Any) -> Stepped:
        """Repeats the action and adds up rewards, until the episode ends."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        total = float(reward)
        for _ in range(self._skip - 1):
            if terminated or truncated:
                break
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
        return observation, total, terminated, truncated, info


class ActionSmoothing(AnyWrapper):
    """Actions as an exponential moving average that begins at zero.

    Args:
        env: Takes a Box.
        smoothing_coef: Share of what was applied before.
    """

    def __init__(self, env: Environment, smoothing_coef: float = 0.0) -> None:
        super().__init__(env)
        self._coefficient = smoothing_coef
        self._applied: Any = 0.0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begins an episode at zero."""
        self._applied = 0.0
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Stepped:
        """Applies the average."""
        self._applied = self._coefficient * self._applied + (1 - self._coefficient) * action
        return self.env.step(self._applied)


class EndOnSuccess(AnyWrapper):
    """Episodes end when the goal was reached several times in a row.

    Args:
        env: Says `is_success` in its information.
        n_successes: How many times.
        reward_offset: Added to every reward.
    """

    def __init__(self, env: Environment, reward_offset: float = 0.0, n_successes: int = 1) -> None:
        super().__init__(env)
        self._offset, self._wanted, self._reached = reward_offset, n_successes, 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Begins an episode without success."""
        self._reached = 0
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Stepped:
        """Counts successes."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._reached = self._reached + 1 if info.get("is_success") else 0
        ended = truncated or self._reached >= self._wanted
        return observation, float(reward) + self._offset, terminated, ended, info
