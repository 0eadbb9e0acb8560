"""The fallback chain: who answers when the policy does not.

Members are asked in order, and a row takes the first offer that its mask and its constraints permit. A
continuous action that only constraints are against goes as far as they allow: what rules, functions or an
earlier version decide, at once, and where no constant is permitted as it is, the first of those. So an action
that a limit on the rate of change puts out of reach is approached. A row to which nothing permitted is
offered stays without an answer: not violating outranks answering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, RootModel

from steersman.bundle.specs import ActionSpec, BoxAction, Contract
from steersman.safety.asking import Asked, FallbackMember
from steersman.safety.columns import Array, Features, Observations, Rows
from steersman.safety.errors import SafetyError
from steersman.safety.masks import Mask, permits
from steersman.safety.members import (
    CERTAIN,
    Aids,
    ConstantsMember,
    MemberSettings,
    compile_member,
    member_names,
)


class FallbackSettings(RootModel[tuple[MemberSettings, ...]]):
    """A fallback chain: in YAML a list of members, empty for a chain that answers nothing."""

    model_config = ConfigDict(frozen=True)

    root: tuple[MemberSettings, ...] = ()


class Allowed(Protocol):
    """What constraints allow N rows; see `steersman.safety.constraints`."""

    def permits(self, actions: Array) -> Rows:
        """Rows whose action keeps every constraint."""
        ...

    def shield(
        self, actions: Array, rows: NDArray[np.intp], mask: Mask | None, distribution: Array | None
    ) -> tuple[Array, Rows]:
        """The nearest actions for `rows` that keep every constraint, and where there is one."""
        ...


@dataclass(frozen=True, slots=True)
class ChainAnswer:
    """What the chain answers to N rows.

    Attributes:
        actions: [N, *shape] in the action's dtype, as the environment takes them; zeros where not answered.
        answered: [N] bool.
        members: [N] int64, position in `names` of the member that answered, -1 where none did.
        names: Names of the chain's members.
        shielded: [N] bool, rows whose action constraints changed from what the member offered; None where
            there is none.
    """

    actions: Array
    answered: Rows
    members: NDArray[np.int64]
    names: tuple[str, ...]
    shielded: Rows | None = None


class FallbackChain:
    """The chain of one deployment for one policy, compiled. Use `FallbackChain.compile`."""

    def __init__(self, members: Sequence[FallbackMember], names: Sequence[str], action: ActionSpec) -> None:
        self._members = tuple(members)
        self._action = action
        self.names = tuple(names)

    @classmethod
    def compile(
        cls,
        settings: FallbackSettings,
        contract: Contract,
        *,
        where: str = "fallback",
        aids: Aids | None = None,
    ) -> FallbackChain:
        """The chain that these settings describe for this policy.

        Args:
            settings: From the deployment.
            contract: The policy's contract.
            where: What errors call it.
            aids: What its members need of this process; without them no entry point is allowed, and there is
                no last good version.

        Raises:
            SafetyError: An action, a rule or a name is wrong; the line says which, and what would be right.
        """
        aids = aids or Aids()
        members = [
            compile_member(each, contract, f"{where}[{i}]", aids) for i, each in enumerate(settings.root)
        ]
        return cls(members, member_names(settings.root, where), contract.action)

    def answer(
        self,
        rows: int,
        *,
        features: Features | None = None,
        mask: Mask | None = None,
        allowed: Allowed | None = None,
        observations: Observations | None = None,
        fit: Rows | None = None,
    ) -> ChainAnswer:
        """Answers to the rows that fell back.

        Args:
            rows: Number of rows N.
            features: [N, F], NaN and all; None where the policy has too many to name.
            mask: [N, W], or None where every choice is allowed.
            allowed: What constraints allow these rows; None where there are none.
            observations: [N, *shape] under each input name, for the last good version.
            fit: [N], rows whose observation may be shown to a model; None where all may.
        """
        work = _Answering(Asked(rows, features, mask, observations, fit), self._action, allowed)
        for index, member in enumerate(self._members):
            work.ask(index, member)
            if not work.pending.any():
                break
        work.approach(work.pending)
        return ChainAnswer(work.actions, ~work.pending, work.members, self.names, work.shielded)


class _Answering:
    """One batch on its way through the chain.

    Attributes:
        actions: [N, *shape], zeros where nothing has been taken.
        members: [N], who answered; -1 where nobody has.
        pending: [N], rows that have no answer yet.
        shielded: [N], rows whose action is not quite what was offered; None where there is none.
    """

    def __init__(self, asked: Asked, action: ActionSpec, allowed: Allowed | None) -> None:
        self.actions = np.zeros((asked.rows, *action.shape), action.dtype)
        self.members = np.full(asked.rows, -1, np.int64)
        self.pending: Rows = np.ones(asked.rows, np.bool_)
        self.shielded: Rows | None = None
        self._asked = asked
        self._action = action
        self._allowed = allowed
        self._wanted = self.actions.copy()  # the first offer that only constraints are against
        self._wanted_of = self.members.copy()

    def ask(self, index: int, member: FallbackMember) -> None:
        """Takes what a member offers to the rows that are pending. The others are not shown to it."""
        rows = np.flatnonzero(self.pending)
        asked = self._asked if len(rows) == self._asked.rows else self._asked.take(rows)
        for offer in member.offers(asked):
            self._take(index, rows, offer.actions, offer.answered)
        if not isinstance(member, ConstantsMember):
            self.approach(self.pending & (self._wanted_of == index))

    def _take(self, index: int, rows: NDArray[np.intp], actions: Array, answered: Rows) -> None:
        good = answered & self.pending[rows] & permits(self._mask(rows), actions, self._action)
        rows, actions = rows[good], actions[good]
        if self._allowed is not None and len(rows):
            whole = self._wanted.copy()
            whole[rows] = actions
            keeps = self._allowed.permits(whole)[rows]
            new = rows[~keeps & (self._wanted_of[rows] < 0)]
            self._wanted[new], self._wanted_of[new] = whole[new], index
            rows, actions = rows[keeps], actions[keeps]
        self.actions[rows] = actions
        self.members[rows] = index
        self.pending[rows] = False

    def approach(self, which: Rows) -> None:
        """Answers some rows with the nearest to what they were first offered, where constraints allow it."""
        rows = np.flatnonzero(which & (self._wanted_of >= 0))
        if self._allowed is None or not len(rows) or not isinstance(self._action, BoxAction):
            return
        found, solved = self._allowed.shield(self._wanted, rows, self._asked.mask, None)
        done = rows[solved]
        self.actions[done], self.members[done] = found[solved], self._wanted_of[done]
        self.pending[done] = False
        if self.shielded is None:
            self.shielded = np.zeros(self._asked.rows, np.bool_)
        self.shielded[done] = True

    def _mask(self, rows: NDArray[np.intp]) -> Mask | None:
        return None if self._asked.mask is None else self._asked.mask[rows]


def require_end(settings: FallbackSettings, *, excused: bool, where: str = "fallback") -> None:
    """Refuse a chain that may leave a row without an offer, unless the operator has said what happens then.

    A chain without members stays legal: it says that nothing answers instead of the policy.

    Args:
        settings: The chain.
        excused: Whether a safe action, or `unanswered: fail`, is declared.
        where: What errors call it.

    Raises:
        SafetyError: Its last member does not answer every row.
    """
    if excused or not settings.root or settings.root[-1].kind in CERTAIN:
        return
    last = len(settings.root) - 1
    raise SafetyError(
        f"the chain ends in {settings.root[-1].kind}, which may have no answer",
        where=f"{where}[{last}]",
        expected="constant or preference as the last member",
        hint="Or declare `safe_action`, or `unanswered: fail`: such rows then fail.",
    )
