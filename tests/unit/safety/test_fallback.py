import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.specs import BoxAction, DiscreteAction
from steersman.bundle.validation import SettingsError, validated
from steersman.safety.errors import SafetyError
from steersman.safety.fallback import FallbackChain, FallbackSettings
from steersman.safety.members import Offer
from unit.safety.strategies import (
    CART,
    all_actions,
    contract_for,
    feature_rows,
    is_permitted,
    masks,
    quick,
    some_actions,
)

THREE = contract_for(DiscreteAction(n=3, start=1))
CHAIN = [
    {"name": "lean", "rules": [{"when": "pole_angle > 0.0", "then": 3}]},
    {"constant": 2},
    {"preference": [1, 3]},
]


def chain_of(data, contract=THREE):
    return FallbackChain.compile(validated(FallbackSettings, data, where="d.yaml"), contract)


def table(*rows):
    return np.array(rows, bool)


def test_a_row_takes_the_first_member_that_its_mask_permits():
    mask = table([1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1], [0, 0, 0])
    features = np.zeros((6, 4))
    features[:, 2] = [1, 1, 1, -1, -1, 1]
    answer = chain_of(CHAIN).answer(6, features=features, mask=mask)
    assert answer.names == ("lean", "constant", "preference")
    assert answer.members.tolist() == [0, 1, 2, 2, 2, -1]
    assert answer.actions.tolist() == [3, 2, 1, 1, 3, 0]
    assert answer.answered.tolist() == [True] * 5 + [False]


def test_without_a_mask_everything_is_permitted():
    answer = chain_of(CHAIN).answer(2, features=np.array([[0, 0, 1, 0], [0, 0, math.nan, 0]]))
    assert answer.members.tolist() == [0, 1]


def test_without_features_rules_have_no_offer_and_the_chain_goes_on():
    assert chain_of(CHAIN).answer(2).members.tolist() == [1, 1]


def test_an_empty_chain_answers_nothing():
    answer = chain_of([]).answer(3, features=np.zeros((3, 4)))
    assert (answer.answered.any(), answer.names) == (False, ())
    assert (answer.actions.tolist(), answer.members.tolist()) == ([0, 0, 0], [-1, -1, -1])


def test_no_rows_get_an_answer_of_no_rows():
    answer = chain_of(CHAIN).answer(0, features=np.zeros((0, 4)), mask=np.zeros((0, 3), bool))
    assert answer.actions.shape == answer.answered.shape == answer.members.shape == (0,)


def test_continuous_actions_need_no_mask():
    box = contract_for(BoxAction(shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0)))
    answer = chain_of([{"constant": [0.5, -1]}], box).answer(2, mask=np.zeros((2, 0), bool))
    assert answer.actions.tolist() == [[0.5, -1.0]] * 2
    assert answer.actions.dtype == np.float32


def numbered(rows):
    return np.arange(rows, dtype=float)[:, None]


class Hostile:
    """A member that offers whatever it was given, allowed or not; the only feature is the row's number."""

    def __init__(self, *offers):
        self._offers = offers

    def offers(self, asked):
        rows = asked.features[:, 0].astype(int)
        return (Offer(actions[rows], answered[rows]) for actions, answered in self._offers)

    def row(self, i):
        return Hostile(*((actions[i : i + 1], answered[i : i + 1]) for actions, answered in self._offers))

    def first_permitted(self, i, mask, action):
        row = None if mask is None else mask[i]
        for actions, answered in self._offers:
            if answered[i] and is_permitted(row, actions[i], action):
                return actions[i].tolist()
        return None


@st.composite
def hostile_chains(draw):
    action = draw(all_actions)
    rows = draw(st.integers(1, 4))
    mask = draw(st.none() | masks(rows, sum(action.mask_segments)))
    flags = st.lists(st.booleans(), min_size=rows, max_size=rows).map(lambda found: np.asarray(found, bool))
    offers = st.lists(st.tuples(some_actions(rows, action), flags), max_size=3)
    members = [Hostile(*each) for each in draw(st.lists(offers, max_size=4))]
    return action, rows, mask, members


@quick
@given(hostile_chains())
def test_whatever_members_offer_no_answer_violates_the_mask(case):
    action, rows, mask, members = case
    chain = FallbackChain(members, [str(i) for i in range(len(members))], action)
    answer = chain.answer(rows, features=numbered(rows), mask=mask)
    for i in range(rows):
        best = [member.first_permitted(i, mask, action) for member in members]
        first = next((k for k, found in enumerate(best) if found is not None), -1)
        assert answer.members[i] == first
        assert answer.answered[i] == (first >= 0)
        if answer.answered[i]:
            assert answer.actions[i].tolist() == best[first]
            assert is_permitted(None if mask is None else mask[i], answer.actions[i], action)
        else:
            assert not np.any(answer.actions[i])


@quick
@given(hostile_chains())
def test_an_answer_does_not_depend_on_other_rows(case):
    action, rows, mask, members = case
    names = [str(i) for i in range(len(members))]
    chain = FallbackChain(members, names, action)
    together = chain.answer(rows, features=numbered(rows), mask=mask)
    for i in range(rows):
        chain = FallbackChain([member.row(i) for member in members], names, action)
        alone = chain.answer(1, features=numbered(1), mask=None if mask is None else mask[i : i + 1])
        assert alone.members[0] == together.members[i]
        assert alone.actions[0].tolist() == together.actions[i].tolist()


@quick
@given(feature_rows(5, 4), st.none() | masks(5, 3), st.permutations(CHAIN), st.integers(0, 3))
def test_configured_chains_never_violate_the_mask_either(features, mask, members, length):
    answer = chain_of(members[:length]).answer(5, features=features, mask=mask)
    for i in np.flatnonzero(answer.answered):
        assert is_permitted(None if mask is None else mask[i], answer.actions[i], THREE.action)


@quick
@given(feature_rows(5, 4), masks(5, 3))
def test_a_chain_that_ends_in_all_actions_answers_wherever_one_is_permitted(features, mask):
    answer = chain_of([*CHAIN, {"preference": [1, 2, 3]}]).answer(5, features=features, mask=mask)
    assert answer.answered.tolist() == mask.any(axis=1).tolist()


def test_members_are_numbered_where_their_kind_comes_twice():
    chain = chain_of([{"constant": 1}, {"constant": 2}, {"name": "last", "constant": 3}, {"preference": [1]}])
    assert chain.names == ("constant", "constant_2", "last", "preference")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            [{"constant": 4}],
            "fallback[0].constant: 4 is not an action; expected an integer from 1 to 3",
        ),
        (
            [{"constant": 1}, {"preference": [1, 0]}],
            "fallback[1].preference[1]: 0 is not an action; expected an integer from 1 to 3",
        ),
        (
            [{"rules": [{"when": "pole_angle > 0.0", "then": 0}]}],
            "fallback[0].rules[0].then: 0 is not an action; expected an integer from 1 to 3",
        ),
        (
            [{"name": "constant", "preference": [1]}, {"constant": 1}],
            "fallback[1]: a second member is named 'constant'; expected unique names",
        ),
    ],
)
def test_a_member_that_does_not_fit_the_contract_is_refused(data, line):
    with pytest.raises(SafetyError) as error:
        chain_of(data)
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            [{"constant": 1, "preference": [1]}],
            (
                "d.yaml: [0]: a member has exactly one of rules, entry_point, last_good_version, constant "
                "and preference, found constant and preference"
            ),
        ),
        (
            [{"name": "x"}],
            (
                "d.yaml: [0]: a member has exactly one of rules, entry_point, last_good_version, constant "
                "and preference, found none"
            ),
        ),
        ([{"preference": []}], "d.yaml: [0]: preference lists no action"),
        (
            [{"constnat": 1}],
            (
                "d.yaml: [0].constnat: unknown field; expected one of constant, entry_point, "
                "last_good_version, name, preference, rules, timeout_ms. Did you mean constant?"
            ),
        ),
        (
            [{"rules": [{"when": "true", "than": 1, "then": 1}]}],
            (
                "d.yaml: [0].rules.rules[0].than: unknown field; expected one of name, then, when. "
                "Did you mean then?"
            ),
        ),
        ({"constant": 1}, "d.yaml: got {'constant': 1}; expected a list"),
    ],
)
def test_settings_of_the_wrong_form(data, line):
    with pytest.raises(SettingsError) as error:
        validated(FallbackSettings, data, where="d.yaml")
    assert str(error.value) == line


def test_cart_actions_go_by_name():
    assert chain_of([{"preference": ["right", "left"]}], CART).answer(1).actions.tolist() == [1]
