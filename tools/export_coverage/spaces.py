"""The spaces behind the names of observations and actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

FRAMES = 3
"""Observations that a stacked one holds."""

Space = spaces.Space[Any]


def _pixels(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


def _vector(size: int) -> spaces.Box:
    return spaces.Box(-1, 1, (size,), np.float32)


_OBSERVATIONS: dict[str, Callable[[], Space]] = {
    "float32": lambda: spaces.Box(
        np.array([-1, -np.inf, 0, -5], np.float32), np.array([1, np.inf, 9, np.inf], np.float32)
    ),
    "float64 unbounded": lambda: spaces.Box(-np.inf, np.inf, (4,), np.float64),
    "float16": lambda: spaces.Box(-2, 2, (3,), np.float16),
    "int32": lambda: spaces.Box(-100, 100, (4,), np.int32),
    "int8": lambda: spaces.Box(-128, 127, (3,), np.int8),
    "float32 2-D": lambda: spaces.Box(-1, 1, (3, 4), np.float32),
    "float32 stacked": lambda: _vector(4),
    "uint8 HWC flat": lambda: _pixels(6, 5, 3),
    "uint8 CHW flat": lambda: _pixels(1, 6, 5),
    "uint8 HWC": lambda: _pixels(40, 36, 3),
    "uint8 CHW": lambda: _pixels(1, 36, 40),
    "uint8 HWC stacked": lambda: _pixels(36, 36, 1),
    "uint8 HWC as it is": lambda: _pixels(36, 36, 3),
    "float32 CHW as it is": lambda: spaces.Box(0, 1, (2, 36, 36), np.float32),
    "Discrete": lambda: spaces.Discrete(6),
    "MultiDiscrete": lambda: spaces.MultiDiscrete([3, 2, 5]),
    "MultiBinary": lambda: spaces.MultiBinary(7),
    "MultiBinary 2-D": lambda: spaces.MultiBinary([2, 3]),
    "Dict": lambda: spaces.Dict(
        {
            "speed": _vector(3),
            "place": spaces.Box(-np.inf, np.inf, (2,), np.float64),
            "gear": spaces.Discrete(4),
            "switches": spaces.MultiBinary(3),
        }
    ),
    "Dict with image": lambda: spaces.Dict(
        {"camera": _pixels(36, 36, 3), "speed": _vector(3), "gear": spaces.Discrete(4)}
    ),
    "Dict of choices": lambda: spaces.Dict(
        {"dials": spaces.MultiDiscrete([3, 4]), "grid": spaces.MultiBinary([2, 3]), "speed": _vector(2)}
    ),
    "Dict stacked": lambda: spaces.Dict({"speed": _vector(3), "place": spaces.Box(-9, 9, (2,), np.float32)}),
}

_ACTIONS: dict[str, Callable[[], Space]] = {
    "Discrete": lambda: spaces.Discrete(4),
    "Discrete from -1": lambda: spaces.Discrete(3, start=-1),
    "Discrete from 5": lambda: spaces.Discrete(5, start=5),
    "MultiDiscrete": lambda: spaces.MultiDiscrete([3, 2, 4]),
    "MultiBinary": lambda: spaces.MultiBinary(5),
    "Box": lambda: spaces.Box(-1, 1, (3,), np.float32),
    "Box odd bounds": lambda: spaces.Box(
        np.array([-2.5, 0, 3], np.float32), np.array([-0.5, 10, 3.25], np.float32)
    ),
    "Box float64": lambda: spaces.Box(-0.7, 1.3, (2,), np.float64),
    "Box 2-D": lambda: spaces.Box(-1, 1, (2, 2), np.float32),
}


def observation_space(name: str) -> Space:
    """What the environment gives, before any stacking."""
    return _OBSERVATIONS[name]()


def action_space(name: str) -> Space:
    """What the environment takes."""
    return _ACTIONS[name]()
