"""Frames side by side: the spaces of a frame stack, by SB3's rules (`vec_env/stacked_observations.py`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

from steersman.export.errors import ExportUsageError
from steersman.export.reading.spaces import AnySpace
from steersman.export.sources.layout import tensors, with_tensors

Array = NDArray[Any]


def stack_axis(space: AnySpace) -> int:
    """The axis of one observation that frames are stacked along: an image's channels, else the last."""
    first = isinstance(space, spaces.Box) and is_image_space(space) and is_image_space_channels_first(space)
    return 0 if first else -1


def stacked(space: AnySpace, frames: int) -> AnySpace:
    """The space of `frames` observations side by side."""
    parts = {name: _box(part, name) for name, part in tensors(space).items()}
    return with_tensors(space, {name: _tiled(part, frames) for name, part in parts.items()})


def unstacked(space: AnySpace, frames: int) -> AnySpace:
    """The space of one of `frames` observations that were stacked.

    Raises:
        ExportUsageError: It cannot be divided.
    """
    parts = {name: _box(part, name) for name, part in tensors(space).items()}
    return with_tensors(space, {name: _divided(part, frames) for name, part in parts.items()})


def with_ordered_bounds(space: AnySpace, frames: int) -> AnySpace:
    """The space of stacked frames with each frame's bounds where that frame is.

    SB3 declares every element's bounds `frames` times in a row instead, which differs where bounds do.

    Raises:
        ExportUsageError: It cannot be divided.
    """
    return stacked(unstacked(space, frames), frames)


def _box(space: AnySpace, name: str) -> spaces.Box[Any]:
    if isinstance(space, spaces.Box):
        return space
    raise ExportUsageError(
        f"{name} is {space}", where="frame_stack", expected="a Box, as SB3 stacks no other"
    )


def _tiled(space: spaces.Box[Any], frames: int) -> AnySpace:
    axis = stack_axis(space)
    low, high = (np.concatenate([bound] * frames, axis=axis) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=np.dtype(space.dtype).type)


def _divided(space: spaces.Box[Any], frames: int) -> AnySpace:
    axis = stack_axis(space)
    if not space.shape or space.shape[axis] % frames:
        raise ExportUsageError(
            f"observations of shape {space.shape} are no {frames} frames side by side", where="frame_stack"
        )
    every = [slice(None)] * len(space.shape)
    every[axis] = slice(None, None, frames)
    low, high = space.low[tuple(every)], space.high[tuple(every)]
    return spaces.Box(low, high, dtype=np.dtype(space.dtype).type)
