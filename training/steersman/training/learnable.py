"""Which spaces PPO and A2C can learn, and which observations running statistics can scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

from steersman.training.errors import TrainingUsageError

if TYPE_CHECKING:
    from gymnasium import Space

SIMPLE = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
EXPECTED = "Box, Discrete, MultiDiscrete or MultiBinary"


def check_learnable(env_id: str, observation: Space[Any], action: Space[Any]) -> None:
    """Refuse what SB3 cannot represent, some of which it would take and get wrong.

    Raises:
        TrainingUsageError: naming the space.
    """
    where = f"--env {env_id}"
    if not isinstance(action, SIMPLE):
        raise TrainingUsageError(f"its action space is {action}", where=where, expected=EXPECTED)
    if not all(isinstance(part, SIMPLE) for part in _parts(observation)):
        raise TrainingUsageError(
            f"its observation space is {observation}",
            where=where,
            expected=f"{EXPECTED}, or a flat Dict of them",
        )
    # SB3 one-hot encodes and samples from 0 whatever the space says.
    for part in (action, *_parts(observation)):
        if np.any(getattr(part, "start", 0)):
            raise TrainingUsageError(
                f"its space {part} does not start at 0", where=where, hint="Shift it with a wrapper."
            )


def check_normalizable(env_id: str, observation: Space[Any]) -> None:
    """Refuse ``--normalize`` for anything but arrays of numbers.

    Raises:
        TrainingUsageError: the observation, or a part of it, is an image or no Box.
    """
    if not all(isinstance(part, spaces.Box) and not is_image_space(part) for part in _parts(observation)):
        raise TrainingUsageError(
            f"--normalize cannot scale {observation}",
            where=f"--env {env_id}",
            expected="Box observations that are no images",
        )


def _parts(observation: Space[Any]) -> list[Space[Any]]:
    return list(observation.values()) if isinstance(observation, spaces.Dict) else [observation]
