"""Policies of the off-policy algorithms and of ARS with random weights, as a zip would give them."""

from __future__ import annotations

import math
from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib import ARS
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from steersman.export.reading.load import SavedPolicy
from unit.export.policies.made import AnySpace, Spaces, saved

NAMES = {"QRDQN": "QR-DQN"}


def off_policy(
    algorithm: type[BaseAlgorithm],
    observation: AnySpace,
    action: AnySpace,
    policy: str | type[BasePolicy] = "",
    **policy_kwargs: Any,
) -> SavedPolicy:
    """A policy whose outputs are far from zero and from each other."""
    torch.manual_seed(5)
    torch.set_num_threads(1)
    name = policy or ("MultiInputPolicy" if isinstance(observation, spaces.Dict) else "MlpPolicy")
    sde = {"use_sde": True} if policy_kwargs.pop("use_sde", False) else {}
    memory = {} if algorithm is ARS else {"buffer_size": 1}
    made: Any = algorithm
    model = made(
        name, Spaces(observation, action), policy_kwargs=policy_kwargs, device="cpu", **memory, **sde
    )
    _stir(model.policy)
    model.policy.set_training_mode(False)
    return saved(NAMES.get(algorithm.__name__, algorithm.__name__), model.policy)


def _stir(policy: torch.nn.Module) -> None:
    """Training moves everything away from where it begins; ARS begins with zeros."""
    with torch.no_grad():
        for name, weights in policy.named_parameters():
            if name.endswith("log_std"):
                weights.uniform_(-1.5, -0.5)
            elif weights.dim() > 1:
                weights.normal_(0, 0.8 / math.sqrt(weights[0].numel()))
            else:
                weights.normal_(1.0 if name.endswith("scale") else 0.0, 0.2)
        for name, statistics in policy.named_buffers():
            if name.endswith("ra_mean"):
                statistics.normal_(0, 0.3)
            elif name.endswith("ra_var"):
                statistics.uniform_(0.5, 2.0)
