"""Features extractors as users write them, with what SB3's own do not have."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

LAYERS: dict[str, list[tuple[type[nn.Module], Any]]] = {
    "padding, pooling and a limited activation": [
        (nn.Conv2d, {"out_channels": 8, "kernel_size": 5, "stride": 2, "padding": 2}),
        (nn.ReLU, {}),
        (nn.MaxPool2d, {"kernel_size": 2}),
        (nn.Conv2d, {"out_channels": 12, "kernel_size": 3, "padding": 1}),
        (nn.ReLU6, {}),
        (nn.AvgPool2d, {"kernel_size": 2}),
    ],
    "activations that are not clipping": [
        (nn.Conv2d, {"out_channels": 8, "kernel_size": 5, "stride": 2}),
        (nn.Tanh, {}),
        (nn.Conv2d, {"out_channels": 12, "kernel_size": 3, "dilation": 2}),
        (nn.LeakyReLU, {}),
        (nn.Conv2d, {"out_channels": 4, "kernel_size": 3}),
    ],
    "normalized batches and grouped channels": [
        (nn.Conv2d, {"out_channels": 8, "kernel_size": 5, "stride": 2, "bias": False}),
        (nn.BatchNorm2d, {}),
        (nn.ReLU, {}),
        (nn.Conv2d, {"out_channels": 8, "kernel_size": 3, "groups": 8}),
        (nn.ReLU, {}),
    ],
}


class Stacked(BaseFeaturesExtractor):
    """Some of `LAYERS`, then a dense layer."""

    def __init__(self, observation_space: spaces.Box, layers: str) -> None:
        super().__init__(observation_space, 16)
        made, channels = [], observation_space.shape[0]
        for kind, arguments in LAYERS[layers]:
            counted = [channels] if kind in {nn.Conv2d, nn.BatchNorm2d} else []
            made.append(kind(*counted, **arguments))
            channels = arguments.get("out_channels", channels)
        self.layers = nn.Sequential(*made, nn.Flatten())
        with torch.no_grad():
            width = self.layers(torch.rand(2, *observation_space.shape)).shape[1]
        self.dense = nn.Sequential(nn.Linear(width, 16), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, 16]."""
        features: Tensor = self.dense(self.layers(observations))
        return features


class Residual(BaseFeaturesExtractor):
    """A block whose input goes around two convolutions."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, 16)
        self.first = nn.Conv2d(observation_space.shape[0], 8, 3, stride=4)
        self.inner = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        with torch.no_grad():
            width = self.first(torch.rand(1, *observation_space.shape)).numel()
        self.dense = nn.Linear(width, 16)

    def forward(self, observations: Tensor) -> Tensor:
        """Maps [N, C, H, W] to [N, 16]."""
        first = torch.relu(self.first(observations))
        features: Tensor = self.dense(torch.relu(first + self.inner(first)).flatten(1))
        return features


class Tokens(BaseFeaturesExtractor):
    """The same two dense layers for every row of a matrix."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, 5 * observation_space.shape[0])
        self.first = nn.Linear(observation_space.shape[1], 16)
        self.second = nn.Linear(16, 5, bias=False)

    def forward(self, observations: Tensor) -> Tensor:
        """Maps [N, T, K] to [N, 5 T]."""
        features: Tensor = self.second(torch.tanh(self.first(observations))).flatten(1)
        return features
