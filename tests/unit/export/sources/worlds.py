"""A small world with every kind of observation and action, and SB3 models for it that were never trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from steersman.bundle.specs import Contract
from steersman.export.gathering import gather_rollouts
from steersman.export.policies.contract import action_spec, build_contract, observation_specs
from steersman.export.policies.families import family_of
from steersman.export.policies.oracle import Oracle
from steersman.export.reading.load import load_policy
from steersman.export.settings import ExportSettings
from steersman.export.sources.episodes import Rollout
from steersman.export.sources.setting import Setting, find_setting
from steersman.export.sources.source import Source, find_source

WORLD = "steersman-source-tests/World-v1"

OBSERVATIONS: dict[str, Callable[[], spaces.Space[Any]]] = {
    "vector": lambda: spaces.Box(np.array([-2, -5, -9], np.float32), np.array([2, 5, 9], np.float32)),
    "double": lambda: spaces.Box(-5, 5, (3,), np.float64),
    "grid": lambda: spaces.Box(-5, 5, (2, 3), np.float32),
    "image": lambda: spaces.Box(0, 255, (36, 40, 3), np.uint8),
    "mixed": lambda: spaces.Dict(
        {"eye": spaces.Box(0, 255, (36, 40, 1), np.uint8), "body": spaces.Box(-5, 5, (3,), np.float32)}
    ),
    "goal": lambda: spaces.Dict(
        {key: spaces.Box(-5, 5, (3,), np.float32) for key in ("observation", "desired_goal")}
    ),
    "place": lambda: spaces.Discrete(5),
    "places": lambda: spaces.MultiDiscrete([3, 2, 4]),
    "switches": lambda: spaces.MultiBinary(4),
}
ACTIONS: dict[str, Callable[[], spaces.Space[Any]]] = {
    "three": lambda: spaces.Discrete(3),
    "shifted": lambda: spaces.Discrete(3, start=-1),
    "push": lambda: spaces.Box(-2, 2, (2,), np.float32),
    "several": lambda: spaces.MultiDiscrete([2, 3]),
    "switches": lambda: spaces.MultiBinary(3),
}


class World(gymnasium.Env[Any, Any]):
    """A random walk that the action pushes, seen through any space. Episodes have odd lengths."""

    def __init__(self, observation: str = "vector", action: str = "three", length: int = 13) -> None:
        self.observation_space = OBSERVATIONS[observation]()
        self.seen = OBSERVATIONS[observation]()  # some wrappers change the space itself
        self.action_space = ACTIONS[action]()
        self.length = length
        self.taken: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.steps, self.place = 0, self.np_random.normal(size=3)
        self.until = self.length + int(self.np_random.integers(4))
        return self._observe(self.seen), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(np.asarray(action, self.action_space.dtype)) or np.isscalar(action)
        self.taken.append(action)
        self.steps += 1
        self.place = 0.9 * self.place + 0.3 * self.np_random.normal(size=3) + 0.1 * float(np.sum(action))
        observed = self._observe(self.seen)
        return observed, float(self.place[0]), self.steps >= self.until, False, {}

    def action_masks(self) -> np.ndarray:
        masks = np.ones(3, np.bool_)
        masks[self.steps % 3] = False
        return masks

    def _observe(self, space: spaces.Space[Any]) -> Any:
        if isinstance(space, spaces.Dict):
            return {key: self._observe(part) for key, part in space.spaces.items()}
        if isinstance(space, spaces.Discrete):
            return int(np.clip(round(self.place[0]) + 2, 0, 4))
        if isinstance(space, spaces.MultiDiscrete):
            return (np.abs(self.place * 10).astype(int)) % space.nvec
        if isinstance(space, spaces.MultiBinary):
            return (np.resize(self.place, 4) > 0).astype(np.int8)
        assert isinstance(space, spaces.Box)
        if space.dtype == np.uint8:
            rows = np.arange(np.prod(space.shape)).reshape(space.shape)
            return ((rows * 7 + self.place[0] * 40) % 256).astype(np.uint8)
        return np.clip(np.resize(self.place, space.shape), space.low, space.high).astype(space.dtype)


if WORLD not in gymnasium.registry:
    gymnasium.register(WORLD, entry_point=World, max_episode_steps=400)  # type: ignore[arg-type]


def save(model: BaseAlgorithm, folder: Path) -> Path:
    """The model's zip."""
    model.save(folder / "model.zip")
    return folder / "model.zip"


def asked(source: Path, **more: Any) -> ExportSettings:
    return ExportSettings(source=source, repository=Path("bundles"), **more)


def world(**kwargs: Any) -> dict[str, Any]:
    """What asks for the world."""
    return {"env_id": WORLD, "env_kwargs": kwargs}


class Prepared:
    """A saved model as the export sees it before any graph is made."""

    def __init__(self, zip_file: Path, **settings: Any) -> None:
        self.source: Source = find_source(asked(zip_file, **settings))
        self.saved = load_policy(self.source.zip, self.source.algo)
        self.setting: Setting = find_setting(self.source, self.saved)
        family = family_of(self.saved)
        self.oracle = Oracle(family, self.setting.preparation)
        self.contract: Contract = build_contract(
            observation_specs(self.setting.observation_space),
            action_spec(self.saved.action_space),
            family.traits,
            self.setting.preparation,
            self.setting.wrapping.declared,
        )

    def rollouts(self, observations: Path | None = None, episodes: int = 8) -> tuple[Rollout, ...]:
        """One for each mode."""
        return gather_rollouts(
            self.oracle,
            self.setting,
            self.contract,
            observations=observations,
            episodes=episodes,
            seed=1,
            say=lambda _, __: None,
        )
