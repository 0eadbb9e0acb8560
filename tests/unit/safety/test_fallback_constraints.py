"""Chains under constraints: nothing leaves that they forbid, and out-of-reach constants are approached."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.specs import BoxAction, DiscreteAction
from steersman.bundle.validation import validated
from steersman.safety.checking import check_safety
from steersman.safety.constraints import Constraints
from steersman.safety.errors import SafetyError
from steersman.safety.memory import Memory
from steersman.safety.settings import SafetySettings
from unit.safety.strategies import contract_for, feature_rows, masks, quick

GEARS = contract_for(DiscreteAction(n=3, names=("back", "hold", "on")))
STEER = contract_for(BoxAction(shape=(1,), low=(-1.0,), high=(1.0,), names=("steer",)))
NO_BACK = {"name": "no_back", "when": "cart_velocity > 1.0", "forbid": ["back"]}
SLEW = {"name": "slew", "rate": {"max_per_s": 2.0, "start": 0.0, "assumed_step_s": 0.1}}


def compiled(contract, **sections):
    return check_safety(validated(SafetySettings, sections, where="d"), contract)


def answer_of(safety, features, mask=None, memory=None):
    bound = safety.constraints.bind(features, memory, len(features))
    return safety.fallback.answer(len(features), features=features, mask=mask, allowed=bound), bound


def test_a_row_takes_the_first_member_that_its_constraints_permit():
    safety = compiled(GEARS, constraints=[NO_BACK], fallback=[{"preference": ["back", "hold"]}])
    features = np.array([[0, 0.0, 0, 0], [0, 2.0, 0, 0]])
    answer, _ = answer_of(safety, features)
    assert answer.actions.tolist() == [0, 1]
    mask = np.array([[True, False, True]] * 2)
    answer, _ = answer_of(safety, features, mask)
    assert answer.answered.tolist() == [True, False]
    assert answer.shielded is None


def test_a_constant_out_of_reach_is_approached():
    safety = compiled(STEER, constraints=[SLEW], fallback=[{"constant": -1.0}, {"constant": 0.0}])
    memory = Memory(
        known=np.array([True, True]),
        now_s=np.zeros(2),
        elapsed_s=np.full(2, 0.1),
        previous=np.array([[0.9], [0.1]], np.float32),
        cells=np.zeros(2, []),
    )
    answer, bound = answer_of(safety, np.zeros((2, 4)), memory=memory)
    assert answer.actions.ravel().tolist() == pytest.approx([0.7, 0.0])
    assert answer.members.tolist() == [0, 1]
    assert answer.shielded.tolist() == [True, False]
    assert bound.permits(answer.actions).all()


def test_what_rules_decide_is_approached_before_others_are_asked():
    rules = {"rules": [{"when": "pole_angle > 0.0", "then": 1.0}]}
    safety = compiled(STEER, constraints=[SLEW], fallback=[rules, {"preference": [-1.0, 0.1]}])
    features = np.array([[0, 0, 1.0, 0], [0, 0, -1.0, 0]])
    answer, _ = answer_of(safety, features)
    assert answer.members.tolist() == [0, 1]
    assert answer.actions.ravel().tolist() == pytest.approx([0.2, 0.1])
    assert answer.shielded.tolist() == [True, False]


def test_where_a_constraint_asks_for_the_fallback_nothing_is_changed():
    slew = {**SLEW, "then": "fallback"}
    safety = compiled(STEER, constraints=[slew], fallback=[{"constant": 1.0}], unanswered="fail")
    answer, _ = answer_of(safety, np.zeros((1, 4)))
    assert not answer.answered.any()


constraint_sets = st.lists(
    st.sampled_from(
        [
            SLEW,
            {"name": "box", "when": "pole_angle > 0.0", "box": {"steer": {"low": -0.5, "high": 0.25}}},
            {"name": "zone", "forbid_zone": {"steer": {"low": -0.1, "high": 0.1}}},
            {"name": "sum", "linear": [{"terms": {"steer": 1.0, "cart_position": 0.3}, "at_most": 0.7}]},
            {"name": "hard", "when": "cart_velocity < 0.0", "then": "fallback", "box": {"low": -0.2}},
        ]
    ),
    unique_by=lambda each: each["name"],
)


@quick
@given(constraint_sets, feature_rows(4, 4), st.lists(st.floats(-1, 1), min_size=1, max_size=3))
def test_whatever_constraints_say_no_answer_of_a_chain_violates_them(constraints, features, constants):
    safety = compiled(
        STEER,
        constraints=constraints,
        fallback=[{"constant": value} for value in constants],
        unanswered="fail",
    )
    bound = Constraints.compile(
        validated(SafetySettings, {"constraints": constraints}, where="d").constraints, STEER
    )
    allowed = bound.bind(features, None, 4)
    answer = safety.fallback.answer(4, features=features, allowed=allowed)
    assert allowed.permits(answer.actions)[answer.answered].all()


@quick
@given(feature_rows(5, 4), st.none() | masks(5, 3))
def test_neither_mask_nor_constraints_are_violated(features, mask):
    safety = compiled(GEARS, constraints=[NO_BACK], fallback=[{"preference": [0, 2, 1]}])
    answer, bound = answer_of(safety, features, mask)
    for i in np.flatnonzero(answer.answered):
        assert mask is None or mask[i, answer.actions[i]]
    assert bound.permits(answer.actions)[answer.answered].all()


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        (
            {"fallback": [{"rules": [{"when": "pole_angle > 0.0", "then": 1}]}]},
            "fallback[0]: the chain ends in rules, which may have no answer",
        ),
        (
            {"constraints": [NO_BACK], "fallback": [{"constant": "back"}]},
            "fallback: no constant of the chain is permitted where no_back applies",
        ),
        (
            {"constraints": [{"name": "all", "forbid": [0, 1, 2]}]},
            "constraints: constraint 'all' leaves no action",
        ),
        ({"safe_action": "fast"}, "safe_action: 'fast' is not an action"),
    ],
)
def test_what_may_leave_rows_without_an_answer_is_refused_at_load(sections, line):
    with pytest.raises(SafetyError) as error:
        compiled(GEARS, **sections)
    assert str(error.value).startswith(line)


@pytest.mark.parametrize("declared", [{"safe_action": "hold"}, {"unanswered": "fail"}])
def test_unless_it_is_declared_what_happens_then(declared):
    rules = {"rules": [{"when": "pole_angle > 0.0", "then": 1}]}
    compiled(GEARS, fallback=[rules], **declared)
    compiled(GEARS, constraints=[NO_BACK], fallback=[{"constant": "back"}], **declared)


def test_what_runs_already_is_not_held_to_it():
    settings = validated(
        SafetySettings, {"fallback": [{"rules": [{"when": "pole_angle > 0.0", "then": 1}]}]}, where="d"
    )
    assert check_safety(settings, GEARS, strict=False).fallback.names == ("rules",)
