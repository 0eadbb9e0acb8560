"""What the shield makes of a continuous action is the nearest that there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.bundle.specs import BoxAction
from unit.safety.constraints import oracle
from unit.safety.constraints.cases import cases, compiled, constraint_lists, policy

thorough = settings(deadline=None, max_examples=120)
doubles = st.sampled_from([(1,), (2,), (3,)]).map(
    lambda shape: BoxAction(shape=shape, low=(-2.0,) * shape[0], high=(2.0,) * shape[0], dtype="float64")
)


def convex(action):
    return constraint_lists(action).filter(lambda found: not any("forbid_zone" in each for each in found))


def keeps_all(case, i, action):
    inside = oracle.exists(action, case.contract.action)
    return inside and not any(oracle.violates(each, case, i, action) for each in case.data)


def solved_rows(case):
    finite = np.isfinite(case.actions).all(axis=1) & (np.abs(case.actions) < 1e6).all(axis=1)
    actions, solved = case.bound.shield(case.actions, np.arange(case.rows))
    return [(i, case.actions[i], actions[i]) for i in np.flatnonzero(solved & finite)]


@thorough
@given(cases(spaces=doubles, lists=convex, wild=False), st.integers(0, 2**32 - 1))
def test_in_a_convex_set_nothing_permitted_is_nearer(case, seed):
    # The nearest point x of a convex set to w is the one with (w - x) . (p - x) <= 0 for every p in the set.
    rng = np.random.default_rng(seed)
    for i, wanted, found in solved_rows(case):
        size = len(found)
        near = found + rng.normal(size=(40, size)) * 10.0 ** rng.uniform(-4, 0, (40, 1))
        for point in np.concatenate([near, rng.uniform(-2, 2, (40, size)), np.clip(near, -2, 2)]):
            if keeps_all(case, i, point):
                away = np.linalg.norm(wanted - found) * np.linalg.norm(point - found)
                assert (wanted - found) @ (point - found) <= 1e-6 * (1 + away)


@thorough
@given(cases(spaces=doubles.filter(lambda box: box.size < 3), wild=False))
def test_with_zones_nothing_on_a_grid_is_nearer(case):
    steps = np.linspace(-2, 2, 33)  # every limit of the tests is on it
    for i, wanted, found in solved_rows(case):
        distance = np.linalg.norm(wanted - found)
        for point in itertools.product(steps, repeat=len(found)):
            if np.linalg.norm(wanted - point) < distance - 1e-6:
                assert not keeps_all(case, i, np.array(point))


@thorough
@given(cases(spaces=doubles.filter(lambda box: box.size < 3), wild=False))
def test_where_the_grid_has_a_permitted_action_with_some_room_one_is_found(case):
    steps = np.linspace(-2, 2, 17)
    allowed = [np.array(point) for point in itertools.product(steps, repeat=case.actions.shape[1])]
    _, solved = case.bound.shield(case.actions, np.arange(case.rows))
    for i in np.flatnonzero(~solved & np.isfinite(case.actions).all(axis=1)):
        refused = any(
            each["then"] == "fallback" and oracle.violates(each, case, i, case.actions[i])
            for each in case.data
        )
        if refused:
            continue
        for point in allowed:
            room = [point + np.array(shift) for shift in itertools.product((-1e-3, 1e-3), repeat=len(point))]
            assert not all(keeps_all(case, i, np.clip(near, -2, 2)) for near in [point, *room])


STEER = policy(BoxAction(shape=(2,), low=(-2.0, -2.0), high=(2.0, 2.0), names=("steer", "throttle")))


def shielded(data, action, contract=STEER, features=(0.0, 0.0, 0.0)):
    bound = compiled(data, contract).bind(np.array([features]), None, 1)
    actions, solved = bound.shield(np.array([action], contract.action.dtype), np.arange(1))
    return actions[0].tolist() if solved[0] else None


@pytest.mark.parametrize(("action", "expected"), [
    ([0.5, 0.0], [1.0, 0.0]), ([-0.5, 0.0], [-1.0, 0.0]), ([1.0, 0.0], [1.0, 0.0]), ([1.5, 0.0], [1.5, 0.0])
])  # fmt: skip
def test_a_zone_is_left_by_its_nearest_face(action, expected):
    assert shielded([{"name": "z", "forbid_zone": {"steer": {"low": -1, "high": 1}}}], action) == expected


def test_zones_side_by_side_are_left_together():
    zones = [
        {"name": "a", "forbid_zone": {"steer": {"low": -1.0, "high": 0.5}}},
        {"name": "b", "forbid_zone": {"steer": {"low": 0.25, "high": 1.5}}},
    ]
    assert shielded(zones, [0.4, 0.0]) == [1.5, 0.0]
    assert shielded(zones, [0.1, 0.0]) == [-1.0, 0.0]
    assert shielded([*zones, {"name": "c", "box": {"steer": {"high": 1.25}}}], [0.4, 0.0]) == [-1.0, 0.0]


def test_a_zone_of_two_elements_is_left_by_either():
    zone = {
        "name": "z",
        "forbid_zone": {"steer": {"low": -1, "high": 1}, "throttle": {"low": -1, "high": 0.5}},
    }
    assert shielded([zone], [0.25, 0.25]) == [0.25, 0.5]
    assert shielded([zone], [-0.75, -0.25]) == [-1.0, -0.25]
    assert shielded([zone], [0.25, 1.0]) == [0.25, 1.0]


def test_a_sum_reads_features_and_the_way_to_it_is_the_shortest():
    power = {"name": "p", "linear": [{"terms": {"steer": 1, "throttle": 1, "speed": 0.5}, "at_most": 2.0}]}
    assert shielded([power], [1.5, 1.5], features=(2.0, 0, 0)) == pytest.approx([0.5, 0.5], abs=1e-6)
    assert shielded([power], [2.0, 2.0], features=(-2.0, 0, 0)) == pytest.approx([1.5, 1.5], abs=1e-6)
    assert shielded([power], [1.5, 1.5], features=(np.nan, 0, 0)) is None


def test_sums_that_contradict_each_other_have_no_answer():
    sums = [
        {"terms": {"steer": 1, "throttle": 1}, "at_most": -1.0},
        {"terms": {"steer": 1, "throttle": 1, "speed": 1.0}, "at_least": 1.0},
    ]
    assert shielded([{"name": "p", "linear": sums}], [0.0, 0.0]) is None


def test_sums_of_one_value_can_be_kept_to_the_last_bit_or_not_at_all():
    # steer + throttle = 0 exactly: there is no room for a hair.
    level = {"name": "p", "linear": [{"terms": {"steer": 1, "throttle": 1}, "at_most": 0, "at_least": 0}]}
    found = shielded([level], [0.3, 0.5])
    assert found is None or sum(found) == 0.0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_elements_of_any_size_are_solved(scale):
    box = BoxAction(shape=(2,), low=(-scale, -scale), high=(scale, scale))
    power = {"name": "p", "linear": [{"terms": {"action[0]": 1, "action[1]": 2}, "at_most": 0.5 * scale}]}
    found = shielded([power], [scale, scale], policy(box))
    assert np.array(found) / scale == pytest.approx([0.5, 0.0], abs=1e-5)
