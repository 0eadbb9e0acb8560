"""Coverage of rules: what a table of cases has not shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from steersman.bundle.specs import feature_names
from steersman.safety.columns import Features
from steersman.safety.expressions import Condition
from steersman.safety.expressions.parts import branches
from steersman.safety.rules import RulePolicy
from steersman.safety.trials.run import Trial
from steersman.safety.trials.subject import Subject


@dataclass(frozen=True, slots=True)
class ConditionCoverage:
    """A condition, or a part of one, on the cases that came to its rule.

    Attributes:
        text: The condition.
        true: Cases on which it was true.
        false: Cases on which it was false.
    """

    text: str
    true: int
    false: int

    @property
    def missing(self) -> str:
        """What was never seen: "never true", "never false", "never tried", or empty."""
        if not self.true and not self.false:
            return "never tried"
        return "" if self.true and self.false else "never false" if self.true else "never true"


@dataclass(frozen=True, slots=True)
class RuleCoverage:
    """One rule.

    Attributes:
        member: The member of the chain that it belongs to.
        rule: Its name.
        decided: Cases that it decided.
        condition: Its condition; None for the default.
        parts: The operands of `&&`, `||`, `!` and `?:` in it.
    """

    member: str
    rule: str
    decided: int
    condition: ConditionCoverage | None
    parts: tuple[ConditionCoverage, ...]

    @property
    def gaps(self) -> tuple[str, ...]:
        """What the cases have not shown of it, one line each."""
        unseen = [f"{part.missing}: {part.text}" for part in self.parts if part.missing]
        if not self.decided:
            unseen.insert(0, "decided no case")
        elif self.condition is not None and self.condition.missing and not self.parts:
            unseen.append(f"{self.condition.missing}: {self.condition.text}")
        return tuple(unseen)


def coverage(subject: Subject, trial: Trial) -> tuple[RuleCoverage, ...]:
    """The coverage of every rule of the chain, by the cases in which the chain was asked."""
    names = feature_names(subject.contract)
    return tuple(
        found
        for position, policy in subject.rules.items()
        for found in _covered(policy, subject.chain.names[position], names, trial.features[trial.asked])
    )


def _covered(
    policy: RulePolicy, member: str, names: tuple[str, ...], features: Features
) -> Iterator[RuleCoverage]:
    decided = policy.decide(features).rules
    finite = np.isfinite(features)
    pending = np.ones(len(features), np.bool_)
    for i, condition in enumerate(policy.conditions):
        pending &= condition.evaluable(finite)
        came = features[pending]
        parts = tuple(_seen(part, came) for part in branches(condition, names))
        yield RuleCoverage(member, policy.names[i], int((decided == i).sum()), _seen(condition, came), parts)
        pending &= ~condition(features)
    if len(policy.names) > len(policy.conditions):
        last = len(policy.conditions)
        yield RuleCoverage(member, policy.names[last], int((decided == last).sum()), None, ())


def _seen(condition: Condition, features: Features) -> ConditionCoverage:
    true = int(condition(features).sum())
    return ConditionCoverage(condition.text, true, len(features) - true)
