"""What differences of actions are measured by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import BoxAction, bounds
from steersman.export.observations import Array


def action_scale(actions: Array, spec: BoxAction) -> NDArray[np.float64]:
    """[N, *shape], the largest of 1, the action and half its range.

    An action that is scaled to its bounds goes through numbers of the size of half its range, and float32
    keeps seven digits of those.
    """
    low, high = bounds(spec)
    with np.errstate(invalid="ignore"):
        half = np.where(np.isfinite(high - low), (high - low) / 2, 0.0)
    finite = np.where(np.isfinite(actions), actions, 0.0)
    return np.asarray(np.maximum(np.maximum(1.0, np.abs(finite)), half), np.float64)
