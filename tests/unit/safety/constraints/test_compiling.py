"""What is refused when constraints are loaded, and how."""

import numpy as np
import pytest

from steersman.bundle.specs import BoxAction, Contract, DiscreteAction, MultiBinaryAction, ObservationSpec
from steersman.bundle.validation import SettingsError
from steersman.safety.errors import SafetyError
from steersman.safety.guard_settings import GuardSettings
from unit.safety.constraints.cases import compiled, policy

CAR = policy(BoxAction(shape=(2,), low=(-1.0, 0.0), high=(1.0, 1.0), names=("steer", "throttle")))
GEARS = policy(DiscreteAction(n=3, start=-1, names=("reverse", "neutral", "drive")))
LAMPS = policy(MultiBinaryAction(n=2, names=("left", "right")))


@pytest.mark.parametrize(("contract", "constraint", "line"), [
    (CAR, {"box": {"ster": {"low": 0}}}, "has no element 'ster'; expected one of steer, throttle. Did you"),
    (CAR, {"box": {"action[2]": {"low": 0}}}, "has no element 'action[2]'"),
    (CAR, {"forbid": ["reverse"]}, "forbid: forbid does not apply to Box actions; expected one of box"),
    (CAR, {"box": {"steer": {"low": 0}}, "when": "sped > 1.0"}, "there is no feature 'sped'"),
    (CAR, {"box": {"steer": {"low": 0}}, "when": "1.0 > 2.0"}, "this condition is never true"),
    (CAR, {"linear": [{"terms": {"speed": 1}, "at_most": 0}]}, "no element of the action is in the sum"),
    (CAR, {"linear": [{"terms": {"stear": 1}, "at_most": 0}]}, "there is no element or feature 'stear'"),
    (CAR, {"rate": {"max_per_s": {"ster": 1}, "start": 0, "assumed_step_s": 1}}, "rate.max_per_s.ster"),
    (CAR, {"box": {"low": 2.0}}, "constraint 'c' leaves no action"),
    (CAR, {"forbid_zone": {"steer": {"low": -2, "high": 2}}}, "constraint 'c' leaves no action"),
    (CAR, {"linear": [{"terms": {"steer": 1, "throttle": 1}, "at_least": 3}]}, "'c' leaves no action"),
    (GEARS, {"forbid": ["revers"]}, "expected one of reverse, neutral, drive. Did you mean reverse?"),
    (GEARS, {"forbid": [2]}, "there is no choice 2; expected a number from -1 to 1"),
    (GEARS, {"forbid": [True]}, "YAML reads on, off, yes and no as true"),
    (GEARS, {"forbid": []}, "no choice is listed"),
    (GEARS, {"forbid": {"gear": [0]}}, "the action has no dimensions; expected a list of choices"),
    (GEARS, {"forbid": ["reverse", "neutral", "drive"]}, "constraint 'c' leaves no action"),
    (GEARS, {"box": {"low": 0}}, "box does not apply to discrete actions; expected one of forbid"),
    (GEARS, {"dwell": {"min_s": 1, "dimensions": ["gear"]}}, "the action has no dimensions"),
    (LAMPS, {"forbid": [0]}, "a mapping such as {left: [0]}"),
    (LAMPS, {"forbid": {"lefd": [1]}}, "Did you mean left?"),
    (LAMPS, {"dwell": {"min_s": 1, "dimensions": ["left"], "assumed": {"right": 1}}}, "not among"),
])  # fmt: skip
def test_what_does_not_fit_the_policy_is_refused_with_the_place_and_what_was_meant(
    contract, constraint, line
):
    with pytest.raises(SafetyError) as caught:
        compiled([{"name": "c"} | constraint], contract)
    assert line in str(caught.value)
    assert "constraints" in str(caught.value)


@pytest.mark.parametrize(("constraint", "line"), [
    ({}, "exactly one of box, rate, forbid"),
    ({"box": {"low": 0}, "forbid": [1]}, "found box and forbid"),
    ({"box": {"low": 1, "high": 0}}, "low 1 is above high 0"),
    ({"box": {"steer": {}}}, "an interval needs low, high or both"),
    ({"dwell": {}}, "exactly one of min_s and min_steps"),
    ({"budget": {"actions": [1], "most": 65, "window_s": 1}}, "at most 64 within a window"),
    ({"budget": {"actions": [1], "most": 1, "assumed_used": 2}}, "more than most"),
    ({"linear": [{"terms": {"steer": 1}}]}, "at_most, at_least or both"),
    ({"rate": {"max_per_s": -1, "start": 0, "assumed_step_s": 1}}, "max_per_s"),
    ({"boxx": {"low": 0}}, "Did you mean box?"),
])  # fmt: skip
def test_settings_that_say_nothing_or_too_much_are_refused(constraint, line):
    with pytest.raises(SettingsError, match=r"d\.yaml") as caught:
        compiled([{"name": "c"} | constraint], CAR)
    assert line in str(caught.value)


def test_names_are_unique():
    with pytest.raises(SafetyError, match="a second constraint is named 'c'"):
        compiled([{"name": "c", "forbid": [0]}] * 2, GEARS)


def test_a_name_that_is_an_element_and_a_feature_has_to_be_told_apart():
    spec = ObservationSpec(dtype="float32", shape=(1,), low=(0,), high=(1,), feature_names=("steer",))
    contract = CAR.model_copy(update={"observations": (spec,)})
    with pytest.raises(SafetyError, match=r"Write action\[0\] or obs\[\"steer\"\]"):
        compiled([{"name": "c", "linear": [{"terms": {"steer": 1}, "at_most": 0}]}], contract)
    terms = {"action[0]": 1, 'obs["steer"]': 1}
    sums = compiled([{"name": "c", "linear": [{"terms": terms, "at_most": 0.5}]}], contract)
    assert sums.bind(np.array([[0.25]]), None, 1).margins(np.array([[0.0, 0.0]])).tolist() == [[0.25]]


def test_together_they_may_leave_nothing_and_those_that_do_are_named():
    forbidden = [
        {"name": "a", "forbid": ["reverse"]},
        {"name": "b", "forbid": ["neutral"], "when": "speed > 1.0"},
        {"name": "c", "forbid": ["drive"], "when": "speed > 2.0 && tilt < 0.0"},
    ]
    with pytest.raises(SafetyError, match="a, b, c together leave no action"):
        compiled(forbidden, GEARS)
    other_side = [*forbidden[:2], {"name": "c", "forbid": ["drive"], "when": "speed < 1.0"}]
    assert compiled(other_side, GEARS).names == ("a", "b", "c")
    never = [*forbidden[:2], {"name": "c", "forbid": ["drive"], "when": "speed > 1.0 && speed > 9.0"}]
    assert compiled(never, GEARS).names == ("a", "b", "c")  # the declared bounds end at 4


def constants(*values, contract=GEARS):
    return [np.array(value, contract.action.dtype) for value in values]


SIDES = [
    {"name": "up", "forbid": ["drive"], "when": "speed > 1.0"},
    {"name": "down", "forbid": ["neutral"], "when": "speed < 1.0"},
]
REJECTS = GuardSettings(non_finite="reject")


def test_a_chain_needs_a_constant_for_every_condition_that_can_come_to_apply():
    found = compiled(SIDES, GEARS)
    found.check_constants(constants(0, 1), GEARS, REJECTS)
    with pytest.raises(SafetyError, match="no constant of the chain is permitted where up applies") as caught:
        found.check_constants(constants(1), GEARS, REJECTS)
    assert "safe_action" in str(caught.value)


def test_where_a_feature_can_be_nan_all_conditions_on_it_apply_together():
    found = compiled(SIDES, GEARS)
    with pytest.raises(SafetyError, match="where up, down apply"):
        found.check_constants(constants(0, 1), GEARS, GuardSettings())
    found.check_constants(constants(0, 1, -1), GEARS, GuardSettings())


def test_features_of_integers_are_never_nan():
    spec = ObservationSpec(dtype="int32", shape=(1,), low=(0,), high=(9,), feature_names=("speed",))
    whole = Contract(
        observations=(spec,), action=GEARS.action, distribution="categorical", outputs=GEARS.outputs
    )
    compiled(SIDES, whole).check_constants(constants(0, 1), whole, GuardSettings())


def test_bounds_narrow_what_can_come_to_apply_only_where_rows_outside_are_rejected():
    far = compiled([{"name": "c", "forbid": ["drive"], "when": "speed > 5.0"}], GEARS)
    inside = GuardSettings(non_finite="reject", bounds="reject")
    far.check_constants(constants(1), GEARS, inside)
    ranged = GuardSettings(non_finite="reject", ranges={"speed": {"high": 4.5}}, ranges_action="reject")
    far.check_constants(constants(1), GEARS, ranged)
    with pytest.raises(SafetyError, match="where c applies"):
        far.check_constants(constants(1), GEARS, REJECTS)


@pytest.mark.parametrize(("constraint", "values", "line"), [
    ({"budget": {"actions": [1], "most": 3}}, [1], "where c applies"),
    ({"dwell": {"min_s": 1}}, [0, 1], "may demand that the one before is kept"),
])  # fmt: skip
def test_what_an_episode_remembers_is_taken_at_its_worst(constraint, values, line):
    found = compiled([{"name": "c"} | constraint], GEARS)
    with pytest.raises(SafetyError, match=line):
        found.check_constants(constants(*values), GEARS, REJECTS)
    found.check_constants(constants(-1, 0, 1), GEARS, REJECTS)


@pytest.mark.parametrize(("constraint", "values", "line"), [
    (
        {"rate": {"max_per_s": 1, "start": 0, "assumed_step_s": 1}, "then": "fallback"},
        [0, 0],
        "after every action: 'c' limits",
    ),
    ({"box": {"steer": {"low": 0.5}}}, [0, 0], "where c applies"),
    ({"forbid_zone": {"steer": {"low": -0.5, "high": 0.5}}}, [0, 0], "where c applies"),
    ({"linear": [{"terms": {"steer": 1, "speed": 1}, "at_most": 3.5}]}, [0, 0], "where c applies"),
])  # fmt: skip
def test_constants_of_a_box_are_held_against_its_constraints(constraint, values, line):
    found = compiled([{"name": "c"} | constraint], CAR)
    with pytest.raises(SafetyError, match=line):
        found.check_constants(constants(values, contract=CAR), CAR, REJECTS)


def test_a_constant_that_only_a_rate_is_against_is_approached():
    rate = {"name": "c", "rate": {"max_per_s": 1, "start": 0, "assumed_step_s": 1}}
    compiled([rate], CAR).check_constants(constants([0, 0], contract=CAR), CAR, GuardSettings())
    both = [rate, {"name": "d", "when": "speed > 1.0", "box": {"steer": {"low": -0.1}}}]
    with pytest.raises(SafetyError, match="after every action: 'c' limits"):
        compiled(both, CAR).check_constants(constants([0, 0], contract=CAR), CAR, GuardSettings())


def test_constants_at_a_limit_keep_it():
    found = compiled([{"name": "c", "box": {"steer": {"low": 0.1}}}], CAR)
    found.check_constants(constants([0.1, 0.0], contract=CAR), CAR, GuardSettings())


def test_a_constant_is_not_approached_where_staying_may_come_to_be_ruled_out():
    slow = {"name": "s", "rate": {"max_per_s": 1, "start": 0, "assumed_step_s": 0.5}}
    level = {"name": "l", "linear": [{"terms": {"steer": 1, "speed": 1}, "at_most": 9}]}
    with pytest.raises(SafetyError, match="after every action: 's'"):
        compiled([slow, level], CAR).check_constants(constants([0.0, 0.0], contract=CAR), CAR, REJECTS)
    far = {"name": "f", "box": {"steer": {"low": 0.75}}}
    with pytest.raises(
        SafetyError, match="where nothing is remembered: from its start, s, f leave no action"
    ):
        compiled([slow, far], CAR).check_constants(constants([1.0, 0.0], contract=CAR), CAR, REJECTS)
