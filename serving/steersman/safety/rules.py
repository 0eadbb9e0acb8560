"""Rule policies: ordered `when: condition, then: action`, with conditions over named features.

The first rule whose condition is true decides a row. Rules are tried in order; at a condition that reads a
feature which is NaN or infinite on a row not yet decided, that row gets no answer from this policy, not even
the default, for nobody can say which rule would have been the one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from steersman.bundle.features import MAX_NAMED_FEATURES, feature_count, has_named_features
from steersman.bundle.specs import Contract, feature_names
from steersman.bundle.validation import Settings
from steersman.safety.actions import ActionValue, parse_action
from steersman.safety.columns import Array, Features, Rows, all_true
from steersman.safety.errors import SafetyError
from steersman.safety.expressions import Condition, compile_condition
from steersman.safety.reachable import refuse_unreachable

MOST_RULES = 256


class RuleSettings(Settings):
    """One rule.

    Attributes:
        name: What reports call it; `rule_<position>` if left out.
        when: Condition in the subset of CEL that `steersman.safety.expressions` documents.
        then: The action, by number or by name.
    """

    name: str | None = None
    when: str
    then: ActionValue


class RulesSettings(Settings):
    """A rule policy; a list alone stands for `rules` without a default.

    Attributes:
        rules: In the order in which they are tried.
        default: Action of rows on which no condition is true; without one they are not answered.
    """

    rules: tuple[RuleSettings, ...] = Field(min_length=1, max_length=MOST_RULES)
    default: ActionValue = None

    @model_validator(mode="before")
    @classmethod
    def _list_is_rules(cls, data: Any) -> Any:
        return {"rules": data} if isinstance(data, (list, tuple)) else data


class RuleDecisions(NamedTuple):
    """What a rule policy decides on N rows.

    Attributes:
        actions: [N, *shape]; zeros where not answered.
        answered: [N] bool.
        rules: [N] int64, position in `RulePolicy.names` of what decided, -1 where nothing did.
    """

    actions: Array
    answered: Rows
    rules: NDArray[np.int64]


class RulePolicy:
    """A rule policy, compiled. Use `RulePolicy.compile`.

    Attributes:
        names: Names of the rules; "default" after them if there is one.
        conditions: The conditions of the rules.
    """

    def __init__(
        self, conditions: Sequence[Condition], actions: Sequence[Array], names: Sequence[str]
    ) -> None:
        """One action for each condition, and at the end possibly the default's."""
        self.conditions = tuple(conditions)
        self._has_default = len(actions) > len(conditions)
        self._actions = np.stack([*actions, np.zeros_like(actions[0])])  # the last, index -1, is no answer
        self.names = tuple(names)

    @classmethod
    def compile(cls, settings: RulesSettings, contract: Contract, *, where: str = "rules") -> RulePolicy:
        """The rule policy that these settings describe for this policy's contract.

        Raises:
            SafetyError: A condition or an action does not fit the contract, a rule can never be reached,
                or there are too many features to name.
        """
        if not has_named_features(contract):
            expected = f"1 to {MAX_NAMED_FEATURES} for rules"
            raise SafetyError(
                f"the policy has {feature_count(contract)} features", where=where, expected=expected
            )
        features = feature_names(contract)
        conditions = [
            compile_condition(rule.when, features, where=f"{where}[{i}].when")
            for i, rule in enumerate(settings.rules)
        ]
        refuse_unreachable(conditions, contract, has_default=settings.default is not None, where=where)
        actions = [
            parse_action(rule.then, contract.action, f"{where}[{i}].then")
            for i, rule in enumerate(settings.rules)
        ]
        names = [rule.name or f"rule_{i}" for i, rule in enumerate(settings.rules)]
        if settings.default is not None:
            actions.append(parse_action(settings.default, contract.action, f"{where}.default"))
            names.append("default")
        return cls(conditions, actions, names)

    def decide(self, features: Features) -> RuleDecisions:
        """Decisions on N rows.

        Args:
            features: [N, F], named by the contract; may hold NaN and infinities.
        """
        finite = np.isfinite(features)
        rules = np.full(len(features), -1, np.int64)
        pending = np.ones(len(features), np.bool_)
        all_finite = all_true(finite)
        for index, condition in enumerate(self.conditions):
            if not all_finite:
                pending &= condition.evaluable(finite)
            holds = condition(features)
            rules[pending & holds] = index
            pending &= ~holds
        if self._has_default:
            rules[pending] = len(self.conditions)
        return RuleDecisions(self._actions[rules], rules >= 0, rules)
