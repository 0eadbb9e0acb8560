"""Cases run: what each comes to, beside what was expected.

Each case stands by itself, as the first step of an episode: what has a memory (stuck sensors, rates, dwell,
budgets) starts from the values that the deployment declares. The policy is not run; a case says what it would
do, or that it does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import feature_names
from steersman.safety.actions import parse_action
from steersman.safety.columns import Array, Features, Observations, Rows
from steersman.safety.constraints import Bound
from steersman.safety.expressions.margins import margin
from steersman.safety.guard_settings import GUARD_REASONS
from steersman.safety.masks import Mask, all_false_segments, permits
from steersman.safety.rules import RulePolicy
from steersman.safety.trials.cases import CasesSettings, Expectation, SourceName, read_features, read_masks
from steersman.safety.trials.subject import Subject

MASK_ALL_FALSE = "mask_all_false"
ACTION_MASKED = "action_masked"
CONSTRAINT_VIOLATED = "constraint_violated"
NO_FEASIBLE_ACTION = "no_feasible_action"
"""Reason strings of `steersman.serving.decision`, which is above this package."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case comes to.

    Attributes:
        action: The action; None where nobody may answer.
        source: Who makes it.
        member: The member of the chain that answers; empty where none does.
        rule: The rule that decides; empty where none does.
        reason: Why the policy does not answer, or not alone; empty where there is none.
        constraint: The first constraint that the policy's action violates; empty for none.
        margin: How far the numbers that the rules compare are from another rule deciding; NaN for no rule.
    """

    action: Array | None
    source: SourceName
    member: str
    rule: str
    reason: str
    constraint: str
    margin: float


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case that was run.

    Attributes:
        name: What it is called.
        outcome: What it came to.
        wrong: What was expected and not found, such as "action: expected 1, got 0".
    """

    name: str
    outcome: Outcome
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """All cases, run.

    Attributes:
        results: One for each case, in order.
        features: [N, F], the cases' features, for coverage.
        asked: [N], cases that the chain was asked in.
    """

    results: tuple[CaseResult, ...]
    features: Features
    asked: Rows

    @property
    def failed(self) -> int:
        """Number of cases that did not come to what was expected."""
        return sum(bool(result.wrong) for result in self.results)


def run_cases(subject: Subject, cases: CasesSettings) -> Trial:
    """Every case, run.

    Raises:
        SafetyError: A case does not fit the policy.
    """
    features, observations = read_features(cases, subject.contract)
    work = _Work(subject, features, observations, read_masks(cases, subject.contract))
    proposed = _proposed(subject, cases)
    wanted = [_wanted(case.expect, subject, i) for i, case in enumerate(cases.cases)]
    work.judge()
    work.propose(proposed)
    asked = work.open.copy()
    work.fall_back()
    results = []
    for i, (name, case) in enumerate(zip(cases.names(), cases.cases, strict=True)):
        outcome = work.outcome(i)
        results.append(CaseResult(name, outcome, tuple(_differences(case.expect, wanted[i], outcome))))
    return Trial(tuple(results), features, asked)


class _Work:
    """The cases on their way; mirrors the order of `steersman.serving.deciding.pipeline`.

    Attributes:
        open: [N], rows that nobody has answered and that have not failed.
    """

    def __init__(
        self, subject: Subject, features: Features, observations: Observations, mask: Mask | None
    ) -> None:
        rows, action = len(features), subject.contract.action
        self._subject = subject
        self._features = features
        self._observations = observations
        self._mask = mask
        self._bound: Bound | None = None
        if subject.constraints is not None:
            self._bound = subject.constraints.bind(features, None, rows)
        self._actions = np.zeros((rows, *action.shape), action.dtype)
        self._sources: list[SourceName] = ["none"] * rows
        self._reasons = [""] * rows
        self._constraints = [""] * rows
        self._members = np.full(rows, -1, np.int64)
        self._fit: Rows = np.ones(rows, np.bool_)
        self.open: Rows = np.ones(rows, np.bool_)

    def judge(self) -> None:
        """Guard and masks."""
        verdicts = self._subject.guard.check(self._observations, self._features)
        self._fit = verdicts.passed
        self._note(~verdicts.passed, [GUARD_REASONS[code].value for code in verdicts.codes])
        self.open &= ~verdicts.rejected
        if self._mask is not None:
            closed = all_false_segments(self._mask, self._subject.contract.action.mask_segments)
            self._note(closed, [MASK_ALL_FALSE] * len(closed))
            self.open &= ~(closed & (self._subject.safe_action is None))

    def propose(self, proposed: tuple[Array, Rows]) -> None:
        """What the policy would do, where the guard lets it."""
        actions, given = proposed
        given = given & self._fit & self.open
        allowed = permits(self._mask, actions, self._subject.contract.action)
        self._note(given & ~allowed, [ACTION_MASKED] * len(given))
        given &= allowed
        if self._bound is None:
            self._answer(given, actions, "policy")
            return
        violated = self._bound.violated(actions)
        self._answer(given & (violated < 0), actions, "policy")
        rows = np.flatnonzero(given & (violated >= 0))
        self._shield(rows, actions, violated)

    def _shield(self, rows: NDArray[np.intp], actions: Array, violated: NDArray[np.int8]) -> None:
        if self._bound is None or self._subject.constraints is None or not len(rows):
            return
        for row in rows:
            self._constraints[row] = self._subject.constraints.names[violated[row]]
            self._reasons[row] = CONSTRAINT_VIOLATED
        found, solved = self._bound.shield(actions, rows, self._mask, None)
        changed = actions.copy()
        changed[rows] = found
        there = np.zeros(len(self.open), np.bool_)
        there[rows[solved]] = True
        self._answer(there, changed, "shield")

    def fall_back(self) -> None:
        """The chain, and the safe action."""
        rows = np.flatnonzero(self.open)
        observations = {name: tensor[rows] for name, tensor in self._observations.items()}
        answer = self._subject.chain.answer(
            len(rows),
            features=self._features[rows],
            mask=None if self._mask is None else self._mask[rows],
            allowed=None if self._bound is None else self._bound.take(rows),
            observations=observations,
            fit=self._fit[rows],
        )
        self._members[rows] = answer.members
        answered = np.zeros(len(self.open), np.bool_)
        answered[rows[answer.answered]] = True
        actions = self._actions.copy()
        actions[rows] = answer.actions
        self._answer(answered, actions, "fallback")
        if self._subject.safe_action is not None:
            safe = np.broadcast_to(self._subject.safe_action, self._actions.shape)
            self._answer(self.open.copy(), safe, "safe_action")
        elif self._subject.chain.names:
            self._note(self.open, [NO_FEASIBLE_ACTION] * len(self.open), over=True)

    def outcome(self, row: int) -> Outcome:
        """What a case came to."""
        member = int(self._members[row])
        rule, distance = "", np.nan
        if member in self._subject.rules:
            policy = self._subject.rules[member]
            rule, distance = _decided_by(policy, feature_names(self._subject.contract), self._features[row])
        source = self._sources[row]
        return Outcome(
            action=None if source == "none" else self._actions[row],
            source=source,
            member=self._subject.chain.names[member] if member >= 0 else "",
            rule=rule,
            reason=self._reasons[row],
            constraint=self._constraints[row],
            margin=distance,
        )

    def _note(self, rows: Rows, reasons: Sequence[str], *, over: bool = False) -> None:
        for row in np.flatnonzero(rows):
            if over or not self._reasons[row]:
                self._reasons[row] = reasons[int(row)]

    def _answer(self, rows: Rows, actions: Array, source: SourceName) -> None:
        self._actions[rows] = actions[rows]
        self.open &= ~rows
        for row in np.flatnonzero(rows):
            self._sources[row] = source


def _decided_by(policy: RulePolicy, names: Sequence[str], row: Features) -> tuple[str, float]:
    """The rule that decides a row, and the least margin of the conditions that make it the one."""
    features = row[None]
    rule = int(policy.decide(features).rules[0])
    if rule < 0:
        return "", np.nan
    earlier = [-margin(condition, names, features)[0] for condition in policy.conditions[:rule]]
    own = [margin(condition, names, features)[0] for condition in policy.conditions[rule : rule + 1]]
    return policy.names[rule], float(min([*earlier, *own]))


def _proposed(subject: Subject, cases: CasesSettings) -> tuple[Array, Rows]:
    action = subject.contract.action
    actions = np.zeros((len(cases.cases), *action.shape), action.dtype)
    given = np.zeros(len(cases.cases), np.bool_)
    for i, case in enumerate(cases.cases):
        if case.policy is not None:
            actions[i], given[i] = parse_action(case.policy, action, f"cases[{i}].policy"), True
    return actions, given


def _wanted(expect: Expectation, subject: Subject, case: int) -> Array | None:
    if expect.action is None:
        return None
    return parse_action(expect.action, subject.contract.action, f"cases[{case}].expect.action")


def _differences(expect: Expectation, wanted: Array | None, found: Outcome) -> Iterator[str]:
    if wanted is not None and (found.action is None or not np.array_equal(wanted, found.action)):
        got = "none" if found.action is None else found.action.tolist()
        yield f"action: expected {wanted.tolist()}, got {got}"
    for name in ("source", "member", "rule", "reason", "constraint"):
        expected, got = getattr(expect, name), getattr(found, name)
        if expected is not None and expected != got:
            yield f"{name}: expected {expected or 'none'}, got {got or 'none'}"
