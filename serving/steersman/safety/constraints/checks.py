"""What is checked of constraints at load: that they leave an action, and the fallback one of its own.

More constraints allow less, so only the largest sets of conditions that can be true together are looked at.
What is remembered of an episode is taken at its worst: budgets used up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from steersman.bundle.specs import BoxAction, Contract, bounds, feature_names
from steersman.safety.columns import Array
from steersman.safety.constraints.batch import Batch
from steersman.safety.constraints.boxes import Limits, Rate, Zone
from steersman.safety.constraints.choices import Budget, Forbidden
from steersman.safety.constraints.dwell import Dwell
from steersman.safety.constraints.linear import Sums
from steersman.safety.constraints.nearest import Region, nearest
from steersman.safety.constraints.program import Constraint, Program
from steersman.safety.constraints.reachability import Span, can_all_hold, is_exact
from steersman.safety.errors import SafetyError
from steersman.safety.guard_settings import GuardSettings

MOST_CONDITIONS = 10
"""Conditions whose combinations are looked at; of more, all are taken to be true together."""
NAMED = 6
"""Constraints that an error names."""

REMEDY = "Declare a safe_action, or `unanswered: fail` to let such rows fail."


def refuse_impossible(program: Program, contract: Contract, where: str) -> None:
    """Refuse constraints that together leave no action, on observations within their declared bounds.

    Only where that is certain: what depends on the episode, on sums over features or on conditions that may
    exclude each other is left to `check_constants` and to the rows concerned.

    Raises:
        SafetyError: They do; the line names them.
    """
    spans = _declared(contract)
    fixed = [each for each in program.constraints if _is_fixed(each)]
    for together in _largest_sets(fixed, contract, spans):
        conditions = [each.condition for each in together if each.condition]
        sure = len({each.text for each in conditions}) <= 1 or is_exact(conditions)
        if sure and not _leaves_something(together, contract):
            raise SafetyError(
                f"{_names(together)} together leave no action" if len(together) > 1 else
                f"constraint {together[0].name!r} leaves no action",
                where=where, expected="constraints that some action keeps", hint=_shrink(together, contract),
            )  # fmt: skip


def check_constants(
    program: Program,
    constants: Sequence[Array],
    contract: Contract,
    guard: GuardSettings,
    *,
    where: str = "fallback",
) -> None:
    """Refuse a chain of which no constant keeps the constraints on some row that it may have to answer.

    Not to be asked where the deployment declares a safe action, or that such rows fail.

    Args:
        program: The constraints.
        constants: The chain's constants, each [*shape], those of rules and preferences among them.
        contract: The policy's contract.
        guard: The deployment's guard: rows that it rejects need no answer. Those it lets fall back do, so
            unless it rejects NaN, every condition that reads a float feature can come to apply.
        where: The setting that holds the chain, for the error.

    Raises:
        SafetyError: There is such a row; the line names the constraints, and what to declare.
    """
    spans = _not_rejected(contract, guard)
    readable = guard.non_finite == "reject"
    for together in _largest_sets(program.constraints, contract, spans, readable=readable):
        lacking = _lacking(together, constants, contract)
        if lacking:
            raise SafetyError(
                f"no constant of the chain is permitted {lacking}",
                where=where,
                expected="a constant that keeps all constraints that can apply together",
                hint=REMEDY,
            )


def _lacking(together: Sequence[Constraint], constants: Sequence[Array], contract: Contract) -> str | None:
    """Where no constant is permitted, as the end of a sentence; None where one always is."""
    fitting = [value for value in constants if _permitted(value, together, contract)]
    if not fitting:
        return f"where {_names(together)} {'apply' if len(together) > 1 else 'applies'}"
    for each in together:
        # A constant that only a rate is against is approached, and to stay is always slow enough; unless
        # other constraints come to apply that rule out where it stays.
        if isinstance(each.kind, Rate) and not (each.shields and not any(map(_comes_and_goes, together))):
            return f"after every action: {each.name!r} limits how far it may be from the one before"
        if isinstance(each.kind, Dwell) and not each.kind.holds_any(fitting):
            return f"after every choice: {each.name!r} may demand that the one before is kept"
    if isinstance(contract.action, BoxAction) and not _leaves_something(together, contract):
        return f"where nothing is remembered: from its start, {_names(together)} leave no action"
    return None


def _comes_and_goes(constraint: Constraint) -> bool:
    """Whether it may rule out an action that it allowed a step before."""
    kind = constraint.kind
    return constraint.condition is not None or (isinstance(kind, Sums) and kind.observes)


def _permitted(value: Array, together: Sequence[Constraint], contract: Contract) -> bool:
    """Whether a constant keeps these, whatever was before, as far as one constant can."""
    elements = np.atleast_2d(value.ravel().astype(np.float64))
    for each in together:
        kind = each.kind
        if isinstance(kind, (Limits, Zone)) and not kind.clear(Batch(1, None, None), elements):
            return False
        if isinstance(kind, (Forbidden, Budget)) and np.any(kind.made(value[None])):
            return False
        if isinstance(kind, Sums) and not kind.keeps(elements[0], _declared(contract)):
            return False
    return True


def _leaves_something(together: Sequence[Constraint], contract: Contract) -> bool:
    """Whether some action keeps what is fixed; of choices, whether each dimension has one left."""
    action = contract.action
    if not isinstance(action, BoxAction):
        allowed = np.ones(sum(action.mask_segments), np.bool_)
        for each in together:
            if isinstance(each.kind, Forbidden):
                allowed &= ~each.kind.columns
        parts = np.split(allowed, np.cumsum(action.mask_segments)[:-1])
        return all(part.any() for part in parts)
    low, high = (limit.astype(action.dtype).astype(np.float64).ravel() for limit in bounds(action))
    for each in together:
        if isinstance(each.kind, (Limits, Rate)):
            least, most = each.kind.limits(Batch(1, None, None))
            low, high = np.maximum(low, least[0]), np.minimum(high, most[0])
    sums = [each.kind for each in together if isinstance(each.kind, Sums) and not each.kind.observes]
    factors = np.concatenate([kind.factors for kind in sums] or [np.zeros((0, action.size))])
    at_most = np.concatenate([kind.at_most for kind in sums] or [np.zeros(0)])
    zones = [each.kind for each in together if isinstance(each.kind, Zone)]
    start = np.clip(np.zeros(action.size), low, high)
    return nearest(start, Region(low, high, factors, at_most, zones)) is not None


def _is_fixed(constraint: Constraint) -> bool:
    kind = constraint.kind
    return isinstance(kind, (Limits, Zone, Forbidden)) or (isinstance(kind, Sums) and not kind.observes)


def _largest_sets(
    constraints: Sequence[Constraint], contract: Contract, spans: Sequence[Span], *, readable: bool = True
) -> Iterator[list[Constraint]]:
    """Sets of constraints that can apply together, to which no other can be added.

    Args:
        constraints: Of which.
        contract: For the names and types of features.
        spans: What each feature may be.
        readable: Whether no feature that is read is NaN; else conditions on floats can always be true.
    """
    names = feature_names(contract)
    floats = [spec.dtype.startswith("float") for spec in contract.observations for _ in range(spec.size)]
    always = [each for each in constraints if each.condition is None]
    open_ = [
        each
        for each in constraints
        if each.condition is not None and (readable or not any(floats[i] for i in each.condition.reads))
    ]
    always += [each for each in constraints if each not in always and each not in open_]
    if len(open_) > MOST_CONDITIONS:
        yield _in_order([*always, *open_], constraints)
        return
    found: list[set[str]] = []
    for count in range(len(open_), -1, -1):
        for some in combinations(open_, count):
            chosen = {each.name for each in some}
            conditions = [each.condition for each in some if each.condition]
            if not any(chosen <= larger for larger in found) and can_all_hold(conditions, names, spans):
                found.append(chosen)
                if always or some:
                    yield _in_order([*always, *some], constraints)


def _in_order(some: Sequence[Constraint], constraints: Sequence[Constraint]) -> list[Constraint]:
    return [each for each in constraints if each in some]


def _declared(contract: Contract) -> list[Span]:
    return [
        (float(low), float(high))
        for spec in contract.observations
        for low, high in zip(*(limit.ravel() for limit in bounds(spec)), strict=True)
    ]


def _not_rejected(contract: Contract, guard: GuardSettings) -> list[Span]:
    """What features of rows may be that the guard does not reject."""
    spans = (
        _declared(contract) if guard.bounds == "reject" else [(-np.inf, np.inf)] * len(_declared(contract))
    )
    if guard.ranges_action != "reject":
        return spans
    for i, name in enumerate(feature_names(contract)):
        if name in guard.ranges:
            low, high = guard.ranges[name].low, guard.ranges[name].high
            spans[i] = (
                spans[i][0] if low is None else max(spans[i][0], low),
                spans[i][1] if high is None else min(spans[i][1], high),
            )
    return spans


def _names(together: Sequence[Constraint]) -> str:
    names = [each.name for each in together[:NAMED]]
    more = f" and {len(together) - NAMED} more" if len(together) > NAMED else ""
    return f"{', '.join(names)}{more}"


def _shrink(together: Sequence[Constraint], contract: Contract) -> str | None:
    """Which of the constraints are enough to leave nothing."""
    needed = list(together)
    for each in together:
        fewer = [other for other in needed if other is not each]
        if fewer and not _leaves_something(fewer, contract):
            needed = fewer
    if len(needed) == len(together):
        return None
    return f"{_names(needed)} alone {'do' if len(needed) > 1 else 'does'}."
