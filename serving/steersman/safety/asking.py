"""What a fallback chain asks its members, and what they offer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ActionSpec, BoxAction, bounds
from steersman.safety.columns import Array, Features, Observations, Rows, all_columns
from steersman.safety.masks import Mask, permits


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """N rows that need an answer.

    Attributes:
        rows: Number of rows N.
        features: [N, F], NaN and all; None where the policy has too many to name.
        mask: [N, W], or None where every choice is allowed.
        observations: [N, *shape] under each input name; None where they are not at hand.
        fit: [N], rows whose observation may be shown to a model; None where all may.
    """

    rows: int
    features: Features | None = None
    mask: Mask | None = None
    observations: Observations | None = None
    fit: Rows | None = None

    def take(self, rows: NDArray[np.intp]) -> Asked:
        """Some of the rows, copied."""
        observations = self.observations
        return Asked(
            len(rows),
            None if self.features is None else self.features[rows],
            None if self.mask is None else self.mask[rows],
            None if observations is None else {name: array[rows] for name, array in observations.items()},
            None if self.fit is None else self.fit[rows],
        )


class Offer(NamedTuple):
    """What a member offers to N rows.

    Attributes:
        actions: [N, *shape], as the environment takes them; anything where nothing is offered.
        answered: [N] bool, rows to which something is offered.
    """

    actions: Array
    answered: Rows


class FallbackMember(Protocol):
    """Something that can answer instead of the policy."""

    def offers(self, asked: Asked) -> Iterator[Offer]:
        """Offers in order of preference; a row takes the first that it may."""
        ...


def exist(actions: Array, action: ActionSpec) -> Rows:
    """Rows of [N, *shape], in the space's dtype, that are actions of the space at all: [N] bool.

    For continuous actions: finite, and within the bounds as far as the dtype can tell.
    """
    if not isinstance(action, BoxAction):
        return permits(None, actions, action)
    low, high = (limit.astype(action.dtype) for limit in bounds(action))
    within = np.isfinite(actions) & (actions >= low) & (actions <= high)
    return all_columns(within.reshape(len(actions), action.size))


def read_offer(result: Any, rows: int, action: ActionSpec) -> Offer:
    """An offer from what a function returned. Rows whose action is not in the space are not answered.

    Raises:
        TypeError, ValueError: It is not `(actions, answered)` of the right shapes and kinds.
    """
    actions, answered = result
    found, flags = np.asarray(actions), np.asarray(answered)
    shape = (rows, *action.shape)
    if found.shape != shape or flags.shape != (rows,):
        expected = f"actions of shape {shape} and answered of shape {(rows,)}"
        raise ValueError(f"shapes {found.shape} and {flags.shape}; expected {expected}")
    kinds = "iuf" if isinstance(action, BoxAction) else "iu"
    if found.dtype.kind not in kinds or flags.dtype.kind != "b":
        raise TypeError(f"dtypes {found.dtype} and {flags.dtype}; expected {action.dtype} and bool")
    with np.errstate(over="ignore", invalid="ignore"):  # what the dtype cannot hold is in no space
        converted = found.astype(action.dtype)
    fits = flags & exist(converted, action)
    if not isinstance(action, BoxAction):
        fits &= all_columns((converted == found).reshape(rows, -1))
    return Offer(converted, fits)
