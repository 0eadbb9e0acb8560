"""Greedy choices, also under a mask that `predict` does not take."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.export.policies.segments import as_actions, best_choices, from_sb3, segment_widths
from steersman.export.reading.spaces import AnySpace

Array = NDArray[Any]


def greedy_actions(
    predicted: Array, scores: Array, action_mask: NDArray[np.bool_] | None, space: AnySpace
) -> Array:
    """SB3's own answer where the mask allows everything, the best of the masked scores elsewhere.

    Args:
        predicted: What `predict` answers for N rows.
        scores: [N, W], minus infinity where the mask is false.
        action_mask: [N, W]; None allows everything.
        space: An action space of choices.
    """
    answered = from_sb3(predicted, space)
    if action_mask is None:
        return answered
    free = action_mask.all(axis=1).reshape(-1, *(1,) * (answered.ndim - 1))
    return np.where(free, answered, as_actions(best_choices(scores, segment_widths(space)), space))


def greedy_steps(space: AnySpace) -> tuple[str, ...]:
    """What a graph of greedy choices does after its network, for people."""
    step, start = "apply the mask before arg-max", int(getattr(space, "start", 0))
    return (step, f"count choices from {start}") if start else (step,)
