"""Zips of untrained models; each is made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO

from unit.export.sources.worlds import WORLD, save

Zip = Callable[..., Path]
ALGORITHMS: dict[str, tuple[Any, str]] = {
    "PPO": (PPO, "MlpPolicy"),
    "A2C": (A2C, "MultiInputPolicy"),
    "DQN": (DQN, "MlpPolicy"),
    "MaskablePPO": (MaskablePPO, "MlpPolicy"),
    "RecurrentPPO": (RecurrentPPO, "MlpLstmPolicy"),
    "image": (PPO, "CnnPolicy"),
}


@pytest.fixture(scope="session")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Zip:
    """Saves a model for the world with these arguments, or for the environment given."""
    made: dict[str, Path] = {}

    def get(algorithm: str = "PPO", env: Any = None, **kwargs: Any) -> Path:
        name = f"{algorithm} {kwargs} {id(env)}"
        if name not in made:
            torch.set_num_threads(1)
            kind, policy = ALGORITHMS[algorithm]
            small: dict[str, Any] = {"lstm_hidden_size": 8} if algorithm == "RecurrentPPO" else {}
            small |= {} if algorithm == "image" else {"net_arch": [16]}
            model = kind(
                policy, env or gymnasium.make(WORLD, **kwargs), device="cpu", seed=1, policy_kwargs=small
            )
            made[name] = save(model, tmp_path_factory.mktemp("model"))
        return made[name]

    return get


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("rollouts", "samples"):
        monkeypatch.setattr(f"steersman.export.sources.{module}.LEAST_STEPS", 600)
    monkeypatch.setattr("steersman.export.sources.rollouts.MOST_STEPS", 900)
