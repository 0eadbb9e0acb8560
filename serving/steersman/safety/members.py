"""Members of a fallback chain: each offers actions; the chain decides what is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from pydantic import model_validator

from steersman.bundle.specs import Contract
from steersman.bundle.validation import Settings
from steersman.safety.actions import ActionValue, parse_action
from steersman.safety.columns import Array, Features, Rows
from steersman.safety.errors import SafetyError
from steersman.safety.rules import RulePolicy, RulesSettings


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

    def offers(self, rows: int, features: Features | None) -> Iterator[Offer]:
        """Offers in order of preference; a row takes the first that it may.

        Args:
            rows: Number of rows N.
            features: [N, F], or None where the policy has too many to name.
        """
        ...


class ConstantsMember:
    """Fixed actions in order of preference, the same for every row."""

    def __init__(self, actions: Sequence[Array]) -> None:
        self._actions = tuple(actions)

    def offers(self, rows: int, features: Features | None) -> Iterator[Offer]:  # noqa: ARG002
        """Each action in turn, to every row."""
        answered = np.ones(rows, np.bool_)
        for action in self._actions:
            yield Offer(np.broadcast_to(action, (rows, *action.shape)), answered)


class RulesMember:
    """A rule policy; it has one offer."""

    def __init__(self, policy: RulePolicy) -> None:
        self._policy = policy

    def offers(self, rows: int, features: Features | None) -> Iterator[Offer]:  # noqa: ARG002
        """What the rules say, to rows whose features can be read."""
        if features is not None:
            decided = self._policy.decide(features)
            yield Offer(decided.actions, decided.answered)


class MemberSettings(Settings):
    """One member of a fallback chain: exactly one of `rules`, `constant` and `preference`.

    Attributes:
        name: What metrics and logs call it; the kind if left out.
        rules: Ordered rules over named features.
        constant: One action.
        preference: Actions of which the first that the mask permits is taken.
    """

    name: str | None = None
    rules: RulesSettings | None = None
    constant: ActionValue = None
    preference: tuple[ActionValue, ...] | None = None

    @property
    def kind(self) -> str:
        """Which of the three it is."""
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _is_one_of_three(self) -> MemberSettings:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"a member has exactly one of rules, constant and preference, found {found}")
        if self.preference == ():
            raise ValueError("preference lists no action")
        return self


_KINDS = ("rules", "constant", "preference")


def compile_member(settings: MemberSettings, contract: Contract, where: str) -> FallbackMember:
    """The member that these settings describe.

    Raises:
        SafetyError: An action or a rule does not fit the contract.
    """
    if settings.rules is not None:
        return RulesMember(RulePolicy.compile(settings.rules, contract, where=f"{where}.rules"))
    if settings.preference is not None:
        actions = [
            parse_action(value, contract.action, f"{where}.preference[{i}]")
            for i, value in enumerate(settings.preference)
        ]
        return ConstantsMember(actions)
    return ConstantsMember([parse_action(settings.constant, contract.action, f"{where}.constant")])


def member_names(members: Sequence[MemberSettings], where: str) -> tuple[str, ...]:
    """What each member is called: its name, else its kind, numbered from the second on.

    Raises:
        SafetyError: Two members have the same name.
    """
    names: list[str] = []
    for i, member in enumerate(members):
        same_kind = sum(other.kind == member.kind for other in members[: i + 1])
        name = member.name or (member.kind if same_kind == 1 else f"{member.kind}_{same_kind}")
        if name in names:
            raise SafetyError(
                f"a second member is named {name!r}", where=f"{where}[{i}]", expected="unique names"
            )
        names.append(name)
    return tuple(names)
