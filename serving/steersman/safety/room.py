"""How far a continuous action may be beyond its space and still count as in it."""

from __future__ import annotations

import numpy as np

from steersman.bundle.specs import ActionSpec, BoxAction, bounds
from steersman.safety.columns import Array

ROOM = 1e-5
"""Share of a limit, or of 1, by which a continuous action may be beyond it: what parity of exports allows."""


def roomy_limits(action: ActionSpec) -> tuple[Array, Array] | None:
    """The space's limits and a little more: rescaling may miss them by a rounding, as in SB3's `predict`.

    Returns:
        Lowest and highest value of each element, float64 of the action's shape; None where there are choices.
    """
    if not isinstance(action, BoxAction):
        return None
    low, high = bounds(action)
    with np.errstate(over="ignore", invalid="ignore"):
        room = ROOM * np.maximum(np.maximum(np.abs(low), np.abs(high)), 1.0)
    return low - room, high + room
