"""A user's own module, as export meets it: on no path until `--import-path` names its folder."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn


class ResidualExtractor(BaseFeaturesExtractor):
    """A layer beside a shortcut, with layer normalization."""

    def __init__(self, observation_space: spaces.Space[Any], features_dim: int = 12) -> None:
        super().__init__(observation_space, features_dim)
        self.flatten = nn.Flatten()
        size = get_flattened_obs_dim(observation_space)
        self.shortcut = nn.Linear(size, features_dim)
        self.layer = nn.Sequential(nn.Linear(size, features_dim), nn.LayerNorm(features_dim), nn.GELU())

    def forward(self, observations: Tensor) -> Tensor:
        """Maps [N, *shape] to [N, features]."""
        flat = self.flatten(observations)
        mixed: Tensor = torch.tanh(self.shortcut(flat)) + self.layer(flat)
        return mixed
