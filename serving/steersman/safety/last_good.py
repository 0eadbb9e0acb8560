"""The version that was stable before, as a member of a fallback chain.

Which version that is and how it is run is the server's to know: it gives an `Oracle`. A row whose observation
the guard refused is not shown to it either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.errors import brief
from steersman.bundle.specs import ActionSpec
from steersman.safety.asking import Asked, Offer, read_offer
from steersman.safety.failures import MemberFailure, Tell


class Oracle(Protocol):
    """Answers as an earlier version of the policy does, greedily."""

    def answer(self, asked: Asked) -> Offer | None:
        """Its actions for N rows, all fit to be shown to a model; None where there is no such version now.

        Recurrent versions have no memory of an episode that they did not decide: they are no oracle.
        """
        ...


class LastGoodMember:
    """An earlier version as a member of a chain; it has one offer.

    Args:
        oracle: Gives the oracle of the moment; None where there is none.
        action: The action space.
        name: The member, for failures.
        tell: Told of failures.
    """

    def __init__(
        self, oracle: Callable[[], Oracle | None], action: ActionSpec, name: str, tell: Tell
    ) -> None:
        self._oracle = oracle
        self._action = action
        self._name = name
        self._tell = tell

    def offers(self, asked: Asked) -> Iterator[Offer]:
        """What the earlier version does on the rows that may be shown to it."""
        fit = np.flatnonzero(np.ones(asked.rows, np.bool_) if asked.fit is None else asked.fit)
        oracle = self._oracle()
        if oracle is None or asked.observations is None or not len(fit):
            return
        found = self._answered(oracle, asked if len(fit) == asked.rows else asked.take(fit))
        if found is not None:
            yield found if len(fit) == asked.rows else _spread(found, fit, asked.rows)

    def _answered(self, oracle: Oracle, asked: Asked) -> Offer | None:
        try:
            found = oracle.answer(asked)
            return None if found is None else read_offer(found, asked.rows, self._action)
        except Exception as error:  # noqa: BLE001  whatever the model does, the chain must go on
            self._tell(MemberFailure(self._name, "raised", f"{type(error).__name__}: {brief(error)}"))
            return None


def _spread(offer: Offer, rows: NDArray[np.intp], count: int) -> Offer:
    """An offer to some rows as one to all of them."""
    actions = np.zeros((count, *offer.actions.shape[1:]), offer.actions.dtype)
    answered = np.zeros(count, np.bool_)
    actions[rows], answered[rows] = offer.actions, offer.answered
    return Offer(actions, answered)
