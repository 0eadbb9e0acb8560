"""Real recurrent policies, and what they do in interleaved episodes when `predict` keeps the state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import RecurrentPPO

from steersman.export import ExportSettings, export_policy

OBSERVATION = spaces.Box(-5, 5, (4,), np.float32)
ACTION = spaces.Discrete(3)
SLOTS = 4
"""Episodes under way at the same time."""


class Nowhere(gymnasium.Env[Any, Any]):
    """An environment that is nothing but its spaces."""

    observation_space, action_space = OBSERVATION, ACTION


def recurrent_model(seed: int) -> RecurrentPPO:
    """An untrained LSTM policy whose actions depend on what it saw before."""
    torch.manual_seed(seed)
    policy = {"net_arch": [16], "lstm_hidden_size": 24, "n_lstm_layers": 1}
    made = RecurrentPPO("MlpLstmPolicy", Nowhere(), device="cpu", policy_kwargs=policy)
    with torch.no_grad():
        for weights in made.policy.parameters():
            weights.add_(0.4 * torch.randn_like(weights))
    return made


def export_model(model: RecurrentPPO, folder: Path, name: str) -> Path:
    """A repository with the model as the policy `recurrent`; gives its folder."""
    zipped = folder / f"{name}.zip"
    model.save(zipped)
    root = folder / name
    export_policy(ExportSettings(source=zipped, repository=root, policy="recurrent", int8=False))
    return root


@dataclass(frozen=True, slots=True)
class Step:
    """A step of one of the episodes: which, whether it begins, what is seen, and what `predict` does."""

    slot: int
    begins: bool
    observation: NDArray[np.float32]
    action: int


class Remembering:
    """The model with its own state, as `predict` wants it carried."""

    def __init__(self, model: RecurrentPPO) -> None:
        self._model = model
        self._state: Any = None

    def act(self, observation: NDArray[np.float32], *, begins: bool) -> int:
        """The action."""
        start = np.array([begins])
        action, self._state = self._model.predict(observation, self._state, start, deterministic=True)
        return int(action)


def interleaved(model: RecurrentPPO, steps: int, seed: int = 0) -> Iterator[Step]:
    """Steps of several episodes in turn, one in twelve of which begins another episode."""
    rng = np.random.default_rng(seed)
    players = [Remembering(model) for _ in range(SLOTS)]
    begun: set[int] = set()
    for number in range(steps):
        slot = number % SLOTS
        begins = slot not in begun or rng.random() < 1 / 12
        begun.add(slot)
        observation = rng.uniform(-5, 5, 4).astype(np.float32)
        yield Step(slot, begins, observation, players[slot].act(observation, begins=begins))
