"""Constraints, compiled from a deployment's settings for one policy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steersman.bundle.features import MAX_NAMED_FEATURES, feature_count, has_named_features
from steersman.bundle.specs import ActionSpec, BoxAction, Contract, feature_names
from steersman.safety.columns import Array, Features, Rows
from steersman.safety.constraints.batch import Batch, Kind
from steersman.safety.constraints.bound import Bound
from steersman.safety.constraints.boxes import Limits, Rate, Zone
from steersman.safety.constraints.checks import check_constants, refuse_impossible
from steersman.safety.constraints.choices import Budget, Forbidden
from steersman.safety.constraints.dwell import Dwell
from steersman.safety.constraints.linear import Sums
from steersman.safety.constraints.program import Constraint, Program
from steersman.safety.constraints.settings import KINDS, ConstraintSettings
from steersman.safety.errors import SafetyError
from steersman.safety.expressions import compile_condition
from steersman.safety.guard_settings import GuardSettings
from steersman.safety.memory import Fields, Memory

BOX_KINDS = ("box", "rate", "forbid_zone", "linear")
MOST = 127
"""Constraints of one deployment; a row's first violated one is an int8."""


class Constraints:
    """The constraints of one deployment for one policy. Use `Constraints.compile`.

    Attributes:
        names: Name of each, in order.
        units: What the margins of each are in; empty for plain numbers.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names = tuple(constraint.name for constraint in program.constraints)
        self.units = tuple(constraint.kind.unit for constraint in program.constraints)

    @classmethod
    def compile(
        cls, settings: Sequence[ConstraintSettings], contract: Contract, where: str = "constraints"
    ) -> Constraints:
        """The constraints that these settings describe for this policy.

        Raises:
            SafetyError: One does not fit the action space, names what there is not, or together they leave
                no action; the line says which, and what would be right.
        """
        if len(settings) > MOST:
            raise SafetyError(f"{len(settings)} constraints", where=where, expected=f"at most {MOST}")
        _refuse_same_names(settings, where)
        found = [_compiled(each, contract, f"{where}[{i}]") for i, each in enumerate(settings)]
        program = Program(found, contract.action)
        refuse_impossible(program, contract, where)
        return cls(program)

    def check_constants(
        self, constants: Sequence[Array], contract: Contract, guard: GuardSettings, where: str = "fallback"
    ) -> None:
        """Refuse a fallback of whose constants none is permitted on some row; see `checks.check_constants`.

        Raises:
            SafetyError: There is such a row.
        """
        check_constants(self.program, constants, contract, guard, where=where)

    def fields(self) -> Fields:
        """What has to be remembered of an episode."""
        return {
            name: field
            for constraint in self.program.constraints
            for name, field in constraint.kind.fields.items()
        }

    def bind(self, features: Features | None, memory: Memory | None, rows: int) -> Bound:
        """What the constraints demand of N rows.

        Args:
            features: [N, F], NaN and all; None where the policy has too many to name.
            memory: What is remembered of the rows' episodes; None for nothing.
            rows: N.
        """
        return Bound(self.program, Batch(rows, features, memory))

    def explain(self, row: int, bound: Bound, actions: Array) -> str:
        """What is wrong with one row's action: the first constraint that it violates, and by how much.

        Args:
            row: Counted from 0.
            bound: Of the batch.
            actions: [N, *shape].

        Returns:
            Such as "constraint 'dwell' is violated by 0.5 s (where speed > 5.0)"; empty for an action that
            violates nothing.
        """
        one = np.array([row])
        part, action = bound.take(one), actions[one]
        found = int(part.violated(action)[0])
        if found < 0:
            return ""
        constraint, by = self.program.constraints[found], -float(part.margins(action)[found, 0])
        unit = f" {constraint.kind.unit}" if constraint.kind.unit else ""
        line = f"constraint {constraint.name!r} is violated by {by:.4g}{unit}"
        if not np.isfinite(by):
            line = f"constraint {constraint.name!r} cannot be said to be kept: a value it reads is not finite"
        return f"{line} (where {constraint.condition.text})" if constraint.condition else line

    def update(self, memory: Memory, actions: Array, answered: Rows) -> None:
        """Writes into the memory's cells what the next step has to know.

        Args:
            memory: Of N rows, as before the decision.
            actions: [N, *shape], the final actions, whoever made them.
            answered: [N] bool, rows that have one.
        """
        for constraint in self.program.constraints:
            if constraint.kind.fields:
                constraint.kind.update(memory, actions, answered)


def _refuse_same_names(settings: Sequence[ConstraintSettings], where: str) -> None:
    names = [each.name for each in settings]
    for i, name in enumerate(names):
        if name in names[:i]:
            what = f"a second constraint is named {name!r}"
            raise SafetyError(what, where=f"{where}[{i}]", expected="unique names")


def _compiled(settings: ConstraintSettings, contract: Contract, where: str) -> Constraint:
    condition = None
    if settings.when is not None:
        _require_names(contract, f"{where}.when")
        condition = compile_condition(settings.when, feature_names(contract), where=f"{where}.when")
        if condition.constant is False:
            raise SafetyError(
                "this condition is never true", where=f"{where}.when", expected="one that can be true"
            )
    kind = _kind(settings, contract, f"{where}.{settings.kind}")
    return Constraint(settings.name, kind, condition, settings.then == "shield")


def _require_names(contract: Contract, where: str) -> None:
    if not has_named_features(contract):
        expected = f"1 to {MAX_NAMED_FEATURES} for conditions and sums over features"
        raise SafetyError(
            f"the policy has {feature_count(contract)} features", where=where, expected=expected
        )


def _kind(settings: ConstraintSettings, contract: Contract, where: str) -> Kind:
    action = contract.action
    _require_space(settings.kind, is_box=isinstance(action, BoxAction), where=where)
    return (
        _box_kind(settings, contract, action, where)
        if isinstance(action, BoxAction)
        else _choice_kind(settings, action, where)
    )


def _box_kind(settings: ConstraintSettings, contract: Contract, action: BoxAction, where: str) -> Kind:
    if settings.box is not None:
        return Limits.compile(settings.box, action, where)
    if settings.rate is not None:
        return Rate(settings.rate, action, where)
    if settings.forbid_zone is not None:
        return Zone(settings.forbid_zone, action, where)
    return Sums.compile(settings.linear or (), contract, where)


def _choice_kind(settings: ConstraintSettings, action: ActionSpec, where: str) -> Kind:
    if settings.dwell is not None:
        return Dwell(settings.name, settings.dwell, action, where)
    if settings.budget is not None:
        return Budget(settings.name, settings.budget, action, where)
    return Forbidden.compile(settings.forbid or (), action, where)


def _require_space(kind: str, *, is_box: bool, where: str) -> None:
    if (kind in BOX_KINDS) == is_box:
        return
    fitting = [each for each in KINDS if (each in BOX_KINDS) == is_box]
    found = "Box" if is_box else "discrete"
    raise SafetyError(
        f"{kind} does not apply to {found} actions", where=where, expected=f"one of {', '.join(fitting)}"
    )
