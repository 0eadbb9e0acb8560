"""Members of a fallback chain: each offers actions; the chain decides what is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from steersman.bundle.features import MAX_NAMED_FEATURES, feature_count, has_named_features
from steersman.bundle.specs import Contract
from steersman.bundle.validation import Settings
from steersman.safety.actions import ActionValue, parse_action
from steersman.safety.asking import Asked, FallbackMember, Offer
from steersman.safety.columns import Array
from steersman.safety.entry_points import (
    DEFAULT_TIMEOUT_MS,
    EntryPointMember,
    EntryPointName,
    EntryPoints,
)
from steersman.safety.errors import SafetyError
from steersman.safety.failures import Tell, log_failure
from steersman.safety.last_good import LastGoodMember, Oracle
from steersman.safety.rules import RulePolicy, RulesSettings

KINDS = ("rules", "entry_point", "last_good_version", "constant", "preference")
CERTAIN = frozenset({"constant", "preference"})
"""Kinds that offer something to every row, so that a chain can end in them."""


class ConstantsMember:
    """Fixed actions in order of preference, the same for every row."""

    def __init__(self, actions: Sequence[Array]) -> None:
        self._actions = tuple(actions)

    def offers(self, asked: Asked) -> Iterator[Offer]:
        """Each action in turn, to every row."""
        answered = np.ones(asked.rows, np.bool_)
        for action in self._actions:
            yield Offer(np.broadcast_to(action, (asked.rows, *action.shape)), answered)


class RulesMember:
    """A rule policy; it has one offer."""

    def __init__(self, policy: RulePolicy) -> None:
        self._policy = policy

    def offers(self, asked: Asked) -> Iterator[Offer]:
        """What the rules say, to rows whose features can be read."""
        if asked.features is not None:
            decided = self._policy.decide(asked.features)
            yield Offer(decided.actions, decided.answered)


class MemberSettings(Settings):
    """A member of a fallback chain; exactly one of the fields beside `name` and `timeout_ms` is given.

    Attributes:
        name: What metrics and logs call it; the kind if left out, numbered from the second on.
        rules: A rule policy.
        entry_point: A Python function, `package.module:function`, that the server was started to allow; see
            `steersman.safety.entry_points`.
        timeout_ms: Longest wait for an entry point's answer, milliseconds.
        last_good_version: True for the version that was stable before.
        constant: One action.
        preference: Actions of which the first that mask and constraints permit is taken.
    """

    name: str | None = None
    rules: RulesSettings | None = None
    entry_point: EntryPointName | None = None
    timeout_ms: Annotated[float, Field(gt=0, le=1000)] | None = None
    last_good_version: Literal[True] | None = None
    constant: ActionValue = None
    preference: tuple[ActionValue, ...] | None = None

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _is_one_of_them(self) -> MemberSettings:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            known = f"{', '.join(KINDS[:-1])} and {KINDS[-1]}"
            raise ValueError(f"a member has exactly one of {known}, found {found}")
        if self.preference == ():
            raise ValueError("preference lists no action")
        if self.timeout_ms is not None and self.entry_point is None:
            raise ValueError(f"timeout_ms is for entry_point, not for {given[0]}")
        return self


def _no_oracle() -> Oracle | None:
    return None


@dataclass(frozen=True, slots=True)
class Aids:
    """What members need of the process that they run in.

    Attributes:
        entry_points: The functions that they may call.
        oracle: Gives the version that was stable before, as it is at the moment.
        tell: Told of members that could not be used.
    """

    entry_points: EntryPoints = field(default_factory=EntryPoints)
    oracle: Callable[[], Oracle | None] = _no_oracle
    tell: Tell = log_failure


def compile_member(
    settings: MemberSettings, contract: Contract, where: str, aids: Aids | None = None
) -> FallbackMember:
    """The member that these settings describe.

    Raises:
        SafetyError: An action or a rule does not fit the contract, or a function is not to be had.
    """
    aids = aids or Aids()
    if settings.rules is not None:
        return RulesMember(RulePolicy.compile(settings.rules, contract, where=f"{where}.rules"))
    if settings.entry_point is not None:
        return _entry_point(settings, contract, f"{where}.entry_point", aids)
    if settings.last_good_version:
        return LastGoodMember(aids.oracle, contract.action, f"{where}.last_good_version", aids.tell)
    if settings.preference is not None:
        actions = [
            parse_action(value, contract.action, f"{where}.preference[{i}]")
            for i, value in enumerate(settings.preference)
        ]
        return ConstantsMember(actions)
    return ConstantsMember([parse_action(settings.constant, contract.action, f"{where}.constant")])


def _entry_point(settings: MemberSettings, contract: Contract, where: str, aids: Aids) -> FallbackMember:
    if not has_named_features(contract):
        expected = f"1 to {MAX_NAMED_FEATURES} for an entry point"
        raise SafetyError(
            f"the policy has {feature_count(contract)} features", where=where, expected=expected
        )
    function = aids.entry_points.get(str(settings.entry_point), where)
    timeout_s = (settings.timeout_ms or DEFAULT_TIMEOUT_MS) / 1000
    return EntryPointMember(function, contract.action, where, timeout_s, aids.tell)


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
