"""The first part of every graph: raw observations to what a features extractor takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from torch import Tensor, nn

from steersman.export.observations import as_sb3, input_name
from steersman.export.policies.preparation import Preparation
from steersman.export.reading.normalizer import Statistics
from steersman.export.reading.spaces import AnySpace


class ObservationReader(nn.Module):
    """The steps of `Preparation`, then SB3's `preprocess_obs`.

    Args:
        preparation: What the environment's wrappers did.
        space: The policy's own observation space.
        normalize_images: Whether the policy divides images by 255.
    """

    def __init__(self, preparation: Preparation, space: AnySpace, *, normalize_images: bool) -> None:
        super().__init__()
        parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
        self.names = tuple(map(input_name, parts))
        self.steps = nn.ModuleList(
            nn.Sequential(
                *_prepared(preparation, name), _preprocessed(part, normalize_images=normalize_images)
            )
            for name, part in zip(self.names, parts.values(), strict=True)
        )

    @property
    def count(self) -> int:
        """Number of observation tensors."""
        return len(self.names)

    def forward(self, *observations: Tensor) -> Any:
        """Maps [N, *shape] each, in the contract's order, to one float32 tensor, or one per key."""
        tensors = zip(self.names, self.steps, observations, strict=True)
        return as_sb3({name: steps(observation) for name, steps, observation in tensors})


def reader_of(policy: Any, preparation: Preparation) -> ObservationReader:
    """The reader of a policy's own observations."""
    return ObservationReader(preparation, policy.observation_space, normalize_images=policy.normalize_images)


def _prepared(preparation: Preparation, name: str) -> list[nn.Module]:
    """The steps of `Preparation` that this tensor takes, in its order."""
    steps: list[nn.Module] = []
    if preparation.keep is not None:
        steps.append(_Keep(preparation.keep))
    normalizer = preparation.normalizer
    if normalizer is not None and name in normalizer.statistics:
        steps.append(_Normalize(normalizer.statistics[name], normalizer.clip))
    return [*steps, _ChannelsFirst()] if name in preparation.channels_last else steps


def _preprocessed(space: AnySpace, *, normalize_images: bool) -> nn.Module:
    if isinstance(space, spaces.Discrete):
        return _OneHot((int(space.n),))
    if isinstance(space, spaces.MultiDiscrete):
        return _OneHot(tuple(map(int, space.nvec)))
    return _Floats(255.0 if normalize_images and is_image_space(space) else 1.0)


class _Keep(nn.Module):
    """Zero where a velocity mask is."""

    keep: Tensor

    def __init__(self, keep: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
        super().__init__()
        self.register_buffer("keep", torch.from_numpy(keep.copy()), persistent=False)

    def forward(self, observations: Tensor) -> Tensor:
        return observations * self.keep


class _Normalize(nn.Module):
    """`VecNormalize.normalize_obs`: in float64, then float32."""

    mean: Tensor
    scale: Tensor

    def __init__(self, statistics: Statistics, clip: float) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.from_numpy(statistics.mean.copy()), persistent=False)
        self.register_buffer("scale", torch.from_numpy(statistics.scale.copy()), persistent=False)

    def forward(self, observations: Tensor) -> Tensor:
        standard = (observations.double() - self.mean) / self.scale
        return torch.clip(standard, -self.clip, self.clip).float()


class _ChannelsFirst(nn.Module):
    """Images [N, H, W, C] to [N, C, H, W]."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.movedim(images, -1, 1)


class _Floats(nn.Module):
    """Float32; images divided."""

    def __init__(self, divisor: float) -> None:
        super().__init__()
        self.divisor = divisor

    def forward(self, observations: Tensor) -> Tensor:
        floats = observations.float()
        return floats if self.divisor == 1.0 else floats / self.divisor


class _OneHot(nn.Module):
    """Numbers to one-hot rows, side by side; what is outside its range has no hot element.

    `torch.nn.functional.one_hot` would stop the whole batch there.
    """

    position: Tensor
    value: Tensor

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        positions = np.repeat(np.arange(len(widths)), widths)
        values = np.concatenate([np.arange(width) for width in widths])
        self.register_buffer("position", torch.from_numpy(positions), persistent=False)
        self.register_buffer("value", torch.from_numpy(values), persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """Maps [N] or [N, D] to [N, sum of widths]."""
        columns = numbers.long()
        columns = columns.unsqueeze(1) if columns.dim() == 1 else columns[:, self.position]
        return (columns == self.value).float()
