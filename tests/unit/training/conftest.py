"""Small real environments and settings for training tests."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium
import numpy as np
import pytest
import typer
from gymnasium import spaces
from typer.testing import CliRunner

from steersman.training import TrainingSettings
from steersman.training.cli import train

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

TINY = {"n_steps": 64, "batch_size": 64, "n_epochs": 2}
TINY_OPTIONS = [f"--hyperparameter={key}={value}" for key, value in TINY.items()]


class Walk(gymnasium.Env[Any, Any]):
    """Ten steps on a line, one point for each step to the right; can be told to break at some step."""

    def __init__(self, breaks_at: int = 0, *, how: str = "error", kind: str = "box") -> None:
        self.observation_space = {
            "box": spaces.Box(-10, 10, (2,), np.float32),
            "dict": spaces.Dict({"place": spaces.Box(-10, 10, (2,), np.float32), "odd": spaces.Discrete(2)}),
            "tuple": spaces.Tuple([spaces.Discrete(2)]),
            "discrete": spaces.Discrete(11),
            "shifted": spaces.Discrete(11, start=1),
            "image": spaces.Box(0, 255, (36, 36, 3), np.uint8),
        }[kind]
        self.action_space = (
            spaces.Dict({"left": spaces.Discrete(2)}) if how == "action" else spaces.Discrete(2)
        )
        self.breaks_at = breaks_at
        self.how = how
        self.kind = kind
        self.seen = 0
        self.position = self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        if self.how == "reset":
            raise RuntimeError("no simulator here")
        self.position = self.steps = 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.seen += 1
        if self.seen == self.breaks_at:
            self._break()
        self.position += 1 if action else -1
        self.steps += 1
        reward = float(-self.seen if self.how == "fade" else action)
        return self._observe(), reward, self.steps == 10, False, {}

    def _observe(self) -> Any:
        place = np.array([self.position, self.steps], np.float32)
        return {
            "box": place,
            "dict": {"place": place, "odd": self.steps % 2},
            "tuple": (self.steps % 2,),
            "discrete": self.steps,
            "shifted": self.steps + 1,
            "image": np.full((36, 36, 3), self.steps, np.uint8),
        }[self.kind]

    def _break(self) -> None:
        if self.how == "interrupt":
            raise KeyboardInterrupt
        if self.how == "terminate":
            os.kill(os.getpid(), signal.SIGTERM)
        if self.how == "error":
            raise RuntimeError("the motor\ncame off")


gymnasium.register("steersman-tests/Walk-v0", entry_point=Walk)  # type: ignore[arg-type]
WALK = "steersman-tests/Walk-v0"


class SettingsFactory(Protocol):
    def __call__(self, env_id: str = ..., **changes: Any) -> TrainingSettings: ...


class Command(Protocol):
    def __call__(self, *options: str) -> Result: ...


@pytest.fixture
def tiny(tmp_path: Path) -> SettingsFactory:
    """Settings for a run of under a second."""

    def make(env_id: str = WALK, **changes: Any) -> TrainingSettings:
        values = {
            "n_envs": 2,
            "timesteps": 256,
            "eval_every": 128,
            "eval_episodes": 4,
            "hyperparameters": TINY,
        }
        return TrainingSettings(env_id=env_id, out=tmp_path / "runs", **{**values, **changes})

    return make


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """``train`` as a command, with a small run as its default and ``tmp_path/runs`` as its root."""
    app = typer.Typer()
    app.command()(train)
    small = [
        "--n-envs=2",
        "--timesteps=256",
        "--eval-episodes=4",
        *TINY_OPTIONS,
        f"--out={tmp_path / 'runs'}",
    ]

    def run(*options: str) -> Result:
        return CliRunner().invoke(app, [*small, *options])

    return run
