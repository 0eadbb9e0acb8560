"""Training the model of a cell: as few steps as SB3 needs, then weights that make it decide something."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import sb3_contrib
import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from tools.export_coverage.arguments import THEIR_MODULE, policy_arguments
from tools.export_coverage.environments import make_environments, normalize
from tools.export_coverage.factors import Cell

THEIR_CODE = Path(__file__).parent / "their_code"

_CLASSES: dict[str, Any] = {
    **{name: getattr(stable_baselines3, name) for name in ("PPO", "A2C", "DQN", "DDPG", "TD3", "SAC")},
    **{
        name: getattr(sb3_contrib, name)
        for name in ("TQC", "TRPO", "CrossQ", "ARS", "MaskablePPO", "RecurrentPPO")
    },
    "QR-DQN": sb3_contrib.QRDQN,
    "ARS linear": sb3_contrib.ARS,
}
_ON_POLICY = {"n_steps": 8, "batch_size": 16, "n_epochs": 1}
_OFF_POLICY = {"buffer_size": 64, "learning_starts": 8, "batch_size": 8, "train_freq": 4, "gradient_steps": 1}
_NOTHING_BY_CHANCE = {"learning_starts": 0, "exploration_initial_eps": 0, "exploration_final_eps": 0}
_SEARCH = {"n_delta": 1}
_HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("PPO", "MaskablePPO", "RecurrentPPO"), _ON_POLICY),
    "A2C": {"n_steps": 8},
    "TRPO": {"n_steps": 8, "batch_size": 16, "n_critic_updates": 1, "cg_max_steps": 2},
    **dict.fromkeys(("DDPG", "TD3", "SAC", "TQC", "CrossQ"), _OFF_POLICY),
    **dict.fromkeys(("DQN", "QR-DQN"), _OFF_POLICY | _NOTHING_BY_CHANCE),
    **dict.fromkeys(("ARS", "ARS linear"), _SEARCH),
}
"""Smallest that train. DQN explores nothing: random actions of a space with `start` are no indices to it."""

_COPIES = 2
_STEPS = 16


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that lives, and the files it was saved to.

    Attributes:
        model: SB3's own object, with the very weights of the file.
        zip: The file.
        statistics: The file of VecNormalize; None where the cell has none.
        normalizer: VecNormalize itself, likewise.
    """

    model: BaseAlgorithm
    zip: Path
    statistics: Path | None
    normalizer: VecNormalize | None

    def prepared(self, observations: Any) -> Any:
        """Raw observations as `predict` takes them."""
        return self.normalizer.normalize_obs(observations) if self.normalizer else observations


def train(cell: Cell, folder: Path) -> Trained:
    """Trains and saves the model of a cell; whatever SB3 raises passes."""
    with warnings.catch_warnings(), their_module():
        warnings.simplefilter("ignore")  # on old forms and small batches, which are meant
        environments = normalize(make_environments(cell, _COPIES, seed=1), cell)
        model = make_model(cell, environments)
        if can_learn(cell):
            model.learn(_STEPS)
        disturb(model.policy)
        if cell.observation == "uint8 HWC as it is":
            _expect_large_pixels(model.policy)
        model.save(folder / "model")
    normalizer = environments if isinstance(environments, VecNormalize) else None
    if normalizer is not None:
        normalizer.training = False
        normalizer.save(str(folder / "statistics.pkl"))
    return Trained(
        model, folder / "model.zip", folder / "statistics.pkl" if normalizer is not None else None, normalizer
    )


def can_learn(cell: Cell) -> bool:
    """False where sb3-contrib 2.9 makes and runs a model, but its buffer's int8 actions fail in the loss."""
    return (cell.algorithm, cell.action) != ("RecurrentPPO", "MultiBinary")


def make_model(cell: Cell, environments: VecEnv) -> BaseAlgorithm:
    """The untrained model."""
    arguments = dict(_HYPERPARAMETERS[cell.algorithm])
    if cell.exploration.startswith("gSDE"):
        arguments["use_sde"] = True
    model: BaseAlgorithm = _CLASSES[cell.algorithm](
        cell.policy, environments, policy_kwargs=policy_arguments(cell), seed=1, device="cpu", **arguments
    )
    return model


def disturb(policy: torch.nn.Module) -> None:
    """Moves all weights by chance: a hardly trained policy answers nearly the same to everything.

    Matrices get the scale that passes a signal through ReLU as it is (He et al. 2015), for beyond it float32
    itself is the limit of what can be compared. Batch normalization gets statistics of its own.
    """
    chance = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weights in policy.parameters():
            matrix = weights.dim() > 1
            scale = (2 / weights[0].numel()) ** 0.5 if matrix else 0.3
            noise = torch.randn(weights.shape, generator=chance) * scale
            weights.mul_(0.3 if matrix else 1).add_(noise)
        for name, values in policy.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                values.add_(torch.rand(values.shape, generator=chance))


def _expect_large_pixels(policy: torch.nn.Module) -> None:
    """Training on pixels up to 255 makes the first convolution small; steps as few as these do not."""
    with torch.no_grad():
        for module in policy.modules():
            if isinstance(module, NatureCNN):
                next(module.parameters()).div_(255)


@contextmanager
def their_module() -> Iterator[ModuleType]:
    """The user's module, forgotten afterwards: export has to find it by itself."""
    sys.path.insert(0, str(THEIR_CODE))
    try:
        yield importlib.import_module(THEIR_MODULE)
    finally:
        sys.path.remove(str(THEIR_CODE))
        sys.modules.pop(THEIR_MODULE, None)
