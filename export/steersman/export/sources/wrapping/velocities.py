"""The velocity mask of rl-baselines3-zoo: which elements of an observation it sets to zero."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from steersman.export.errors import ExportUsageError, UnsupportedError
from steersman.export.reading.spaces import AnySpace
from steersman.export.sources.wrapping.wrappers import Wrapping

VELOCITIES: Mapping[str, tuple[int, ...]] = {
    "CartPole": (1, 3),
    "MountainCar": (1,),
    "MountainCarContinuous": (1,),
    "Pendulum": (2,),
    "LunarLander": (2, 3, 5),
    "LunarLanderContinuous": (2, 3, 5),
}
"""Elements that are velocities, by the environment's id without its version (`rl_zoo3/wrappers.py`)."""


def velocity_mask(
    wrapping: Wrapping, env_id: str | None, raw: AnySpace, frames: int
) -> NDArray[np.float32] | None:
    """[*shape], 0 where an element is set to zero and 1 elsewhere; None without a mask.

    Args:
        wrapping: Says whether there is one.
        env_id: The environment's id, which decides where the wrapper's arguments do not.
        raw: Raw observation space.
        frames: How many observations stand side by side in it.

    Raises:
        UnsupportedError: It cannot be said what is masked.
        ExportUsageError: There are no such elements.
    """
    arguments = wrapping.arguments("velocity_mask")
    if arguments is None:
        return None
    if not isinstance(raw, spaces.Box) or len(raw.shape) != 1 or wrapping.arguments("history"):
        raise UnsupportedError(
            f"a velocity mask of {raw} is not covered",
            where="velocity_mask",
            expected="a vector, without history",
        )
    keep = np.ones(raw.shape[0] // frames, np.float32)
    keep[_elements(arguments, env_id, len(keep))] = 0
    return np.tile(keep, frames)


def _elements(arguments: Mapping[str, Any], env_id: str | None, size: int) -> list[int]:
    name = re.sub(r"-v\d+$", "", env_id or "")
    elements = arguments["indices"] if arguments["indices"] is not None else VELOCITIES.get(name)
    if elements is None:
        raise UnsupportedError(
            "it is not known which elements are velocities",
            where=f"velocity_mask of {env_id or 'an unknown environment'}",
            hint='Say it with --wrapper velocity_mask:{"indices": [...]}',
        )
    if not all(isinstance(i, int) and 0 <= i < size for i in elements):
        raise ExportUsageError(
            f"indices are {list(elements)}", where="velocity_mask", expected=f"numbers from 0 to {size - 1}"
        )
    return list(elements)
