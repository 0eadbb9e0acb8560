"""The fallback chain: who answers when the policy does not.

Members are asked in order, and a row takes the first offer that its mask permits. A row to which nothing
permitted is offered stays without an answer: not violating the mask outranks answering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, RootModel

from steersman.bundle.specs import ActionSpec, Contract
from steersman.safety.columns import Array, Features, Rows
from steersman.safety.masks import Mask, permits
from steersman.safety.members import FallbackMember, MemberSettings, compile_member, member_names


class FallbackSettings(RootModel[tuple[MemberSettings, ...]]):
    """A fallback chain: in YAML a list of members, empty for a chain that answers nothing."""

    model_config = ConfigDict(frozen=True)

    root: tuple[MemberSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class ChainAnswer:
    """What the chain answers to N rows.

    Attributes:
        actions: [N, *shape] in the action's dtype, as the environment takes them; zeros where not answered.
        answered: [N] bool.
        members: [N] int64, position in `names` of the member that answered, -1 where none did.
        names: Names of the chain's members.
    """

    actions: Array
    answered: Rows
    members: NDArray[np.int64]
    names: tuple[str, ...]


class FallbackChain:
    """The chain of one deployment for one policy, compiled. Use `FallbackChain.compile`."""

    def __init__(self, members: Sequence[FallbackMember], names: Sequence[str], action: ActionSpec) -> None:
        self._members = tuple(members)
        self._action = action
        self.names = tuple(names)

    @classmethod
    def compile(
        cls, settings: FallbackSettings, contract: Contract, *, where: str = "fallback"
    ) -> FallbackChain:
        """The chain that these settings describe for this policy.

        Raises:
            SafetyError: An action, a rule or a name is wrong; the line says which, and what would be right.
        """
        members = [compile_member(each, contract, f"{where}[{i}]") for i, each in enumerate(settings.root)]
        return cls(members, member_names(settings.root, where), contract.action)

    def answer(self, rows: int, *, features: Features | None = None, mask: Mask | None = None) -> ChainAnswer:
        """Answers to the rows that fell back.

        Args:
            rows: Number of rows N.
            features: [N, F], NaN and all; None where the policy has too many to name.
            mask: [N, W], or None where every choice is allowed.
        """
        actions = np.zeros((rows, *self._action.shape), self._action.dtype)
        members = np.full(rows, -1, np.int64)
        pending = np.ones(rows, np.bool_)
        for index, member in enumerate(self._members):
            for offer in member.offers(rows, features):
                taken = pending & offer.answered & permits(mask, offer.actions, self._action)
                actions[taken] = offer.actions[taken]
                members[taken] = index
                pending &= ~taken
                if not pending.any():
                    return ChainAnswer(actions, ~pending, members, self.names)
        return ChainAnswer(actions, ~pending, members, self.names)
