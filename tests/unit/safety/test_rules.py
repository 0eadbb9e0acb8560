import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.specs import BoxAction, DiscreteAction, MultiDiscreteAction
from steersman.bundle.validation import SettingsError, validated
from steersman.safety.errors import SafetyError
from steersman.safety.rules import RulePolicy, RulesSettings
from unit.safety.strategies import CART, FEATURES, contract_for, feature_rows, quick

LEAN = {
    "rules": [
        {"name": "falling right", "when": "pole_angle > 0.1", "then": "right"},
        {"when": "pole_angle < -0.1 && cart_velocity < 1.0", "then": 0},
    ],
    "default": "right",
}


def policy_of(data, contract=CART):
    return RulePolicy.compile(validated(RulesSettings, data, where="d.yaml"), contract)


def decide(data, *rows, contract=CART):
    decided = policy_of(data, contract).decide(np.array(rows, np.float64))
    return decided.actions.tolist(), decided.answered.tolist(), decided.rules.tolist()


def test_the_first_condition_that_is_true_decides():
    rows = [0, 0, 0.2, 0], [0, 0, -0.2, 0], [0, 2, -0.2, 0], [0, 0, 0, 0]
    assert decide(LEAN, *rows) == ([1, 0, 1, 1], [True] * 4, [0, 1, 2, 2])
    assert policy_of(LEAN).names == ("falling right", "rule_1", "default")


def test_a_list_stands_for_rules_without_default():
    found = decide(LEAN["rules"], [0, 0, 0.2, 0], [0, 0, 0, 0])
    assert found == ([1, 0], [True, False], [0, -1])


def test_a_row_is_not_answered_once_a_condition_cannot_be_read():
    rows = (
        [math.nan, math.nan, 0.2, math.nan],  # the first rule reads the angle only, and decides
        [0, math.nan, 0.0, 0],  # the second cannot be read: not even the default
        [0, 0, math.inf, 0],
        [math.inf, 0, 0, math.nan],  # features that no rule reads do not matter
    )
    assert decide(LEAN, *rows) == ([1, 0, 0, 1], [True, False, False, True], [0, -1, -1, 2])


def test_an_or_that_reads_a_missing_feature_is_not_answered_either():
    rules = [{"when": "pole_angle > 0.0 || cart_velocity > 0.0", "then": 1}]
    assert decide(rules, [0, math.nan, 1, 0])[1] == [False]


def test_no_rows_get_no_decisions():
    decided = policy_of(LEAN).decide(np.zeros((0, 4)))
    assert (decided.actions.shape, decided.answered.shape, decided.rules.shape) == ((0,), (0,), (0,))


def test_actions_of_any_shape():
    pair = contract_for(MultiDiscreteAction(nvec=(2, 3)))
    rules = [{"when": "pole_angle > 0.0", "then": [1, 2]}]
    assert decide(rules, [0, 0, 1, 0], [0, 0, 0, 0], contract=pair)[0] == [[1, 2], [0, 0]]
    box = contract_for(BoxAction(shape=(1,), low=(-1.0,), high=(1.0,)))
    decided = policy_of([{"when": "pole_angle > 0.0", "then": 0.5}], box).decide(np.ones((1, 4)))
    assert (decided.actions.tolist(), decided.actions.dtype) == ([[0.5]], np.float32)


def plain_decision(row, thresholds, default):
    """The definition: rule i is `feature i > threshold i`."""
    for i, threshold in enumerate(thresholds):
        if not math.isfinite(row[i]):
            return -1
        if row[i] > threshold:
            return i
    return len(thresholds) if default else -1


@quick
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=4), st.booleans(), feature_rows(5, 4))
def test_rules_are_their_plain_definition_row_by_row(thresholds, has_default, features):
    data = {
        "rules": [
            {"when": f"{FEATURES[i]} > ({threshold!r})", "then": i} for i, threshold in enumerate(thresholds)
        ]
    } | ({"default": 4} if has_default else {})
    contract = contract_for(DiscreteAction(n=5))
    decided = policy_of(data, contract).decide(features)
    expected = [plain_decision(row, thresholds, has_default) for row in features]
    assert decided.rules.tolist() == expected
    assert decided.answered.tolist() == [rule >= 0 for rule in expected]
    actions = [0 if rule < 0 else 4 if rule == len(thresholds) else rule for rule in expected]
    assert decided.actions.tolist() == actions


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            [{"when": "pole_angel > 0.0", "then": 1}],
            (
                "rules[0].when, line 1, column 1: there is no feature 'pole_angel'; expected one of "
                "cart_position, "
                "cart_velocity, pole_angle, pole_angular_velocity. Did you mean pole_angle or "
                "pole_angular_velocity?"
            ),
        ),
        (
            [{"when": "true", "then": 7}],
            "rules[0].then: 7 is not an action; expected an integer from 0 to 1, or one of left, right",
        ),
        (
            {"rules": [{"when": "pole_angle > 0.0", "then": 1}], "default": "rigth"},
            (
                "rules.default: 'rigth' is not an action; expected an integer from 0 to 1, or one of "
                "left, right. "
                "Did you mean right?"
            ),
        ),
        (
            [{"when": "1 > 2", "then": 1}],
            "rules[0].when: this condition is never true; expected one that can be true",
        ),
        (
            [{"when": "true", "then": 1}, {"when": "pole_angle > 0.0", "then": 1}],
            (
                "rules[0].when: this condition is always true, so rules[1] is never reached. "
                "Make the last rule the default, or remove what comes after it."
            ),
        ),
        (
            {"rules": [{"when": "true", "then": 1}], "default": 0},
            (
                "rules[0].when: this condition is always true, so rules.default is never reached. "
                "Make the last rule the default, or remove what comes after it."
            ),
        ),
    ],
)
def test_each_mistake_is_refused_at_load(data, line):
    with pytest.raises(SafetyError) as error:
        policy_of(data)
    assert str(error.value) == line


def test_images_have_no_rules():
    many = contract_for(DiscreteAction(n=2), tuple(f"f{i}" for i in range(65)))
    with pytest.raises(SafetyError) as error:
        policy_of([{"when": "f0 > 0.0", "then": 1}], many)
    assert str(error.value) == "rules: the policy has 65 features; expected 1 to 64 for rules"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ([], "d.yaml: rules: got []; expected at least 1 item"),
        (
            [{"if": "true", "then": 1, "when": "true"}],
            "d.yaml: rules[0].if: unknown field; expected one of name, then, when",
        ),
        ([{"then": 1}], "d.yaml: rules[0].when: missing field"),
        ([{"when": 3, "then": 1}], "d.yaml: rules[0].when: got 3; expected a valid string"),
    ],
)
def test_settings_of_the_wrong_form(data, line):
    with pytest.raises(SettingsError) as error:
        validated(RulesSettings, data, where="d.yaml")
    assert str(error.value) == line
