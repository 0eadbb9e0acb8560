"""Whether two versions of a policy wanted the same of the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ActionSpec, BoxAction, bounds

Array = NDArray[Any]
UNBOUNDED = 1e30
"""A range from here on is no scale for differences: spaces without bounds often declare float32's largest."""


def agreeing(spec: ActionSpec, answered: Array, other: Array, tolerance: float) -> NDArray[np.bool_]:
    """[N]: whether two actions are the same, row by row.

    Choices are the same or they are not. Continuous actions agree when no element differs by more than
    `tolerance` times its range; where it has no bounds, by more than `tolerance` times what was answered, or
    `tolerance` itself where that is below 1.

    Args:
        spec: The action space.
        answered: [N, *action shape] as callers got them, finite.
        other: [N, *action shape] to compare them with, finite.
        tolerance: Largest difference of continuous actions, 0 to 1.
    """
    if not len(answered):
        return np.ones(0, np.bool_)
    if not isinstance(spec, BoxAction):
        return np.asarray((answered == other).reshape(len(answered), -1).all(axis=1))
    expected = answered.astype(np.float64)
    low, high = bounds(spec)
    with np.errstate(over="ignore"):
        span = high - low
    scale = np.where(span < UNBOUNDED, span, np.maximum(np.abs(expected), 1.0))
    near = np.abs(other.astype(np.float64) - expected) <= tolerance * scale
    return np.asarray(near.reshape(len(answered), -1).all(axis=1))
