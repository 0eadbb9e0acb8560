import numpy as np
import pytest
from hypothesis import given

from steersman.bundle.specs import BoxAction, DiscreteAction, MultiBinaryAction, MultiDiscreteAction
from steersman.safety.actions import parse_action
from steersman.safety.errors import SafetyError
from steersman.safety.masks import permits
from unit.safety.strategies import all_actions, masked_actions, quick, some_actions

GEARS = DiscreteAction(n=3, start=1, names=("low", "high", "park"))
PLAIN = DiscreteAction(n=2)
PAIR = MultiDiscreteAction(nvec=(2, 3))
SWITCHES = MultiBinaryAction(n=2)
THRUST = BoxAction(shape=(2,), low=(-1.0, 0.0), high=(1.0, 2.0))
TORQUE = BoxAction(shape=(1,), low=(-0.1,), high=(0.1,))
GRID = BoxAction(shape=(2, 2), low=(-1.0,) * 4, high=(1.0,) * 4, dtype="float64")


@pytest.mark.parametrize(
    ("value", "action", "expected"),
    [
        (1, GEARS, 1),
        (3, GEARS, 3),
        ("park", GEARS, 3),
        (0, PLAIN, 0),
        ([1, 2], PAIR, [1, 2]),
        ([0, 1], SWITCHES, [0, 1]),
        ([True, False], SWITCHES, [1, 0]),
        ([0.5, 2], THRUST, [0.5, 2.0]),
        ([-1, 0], THRUST, [-1.0, 0.0]),
        (0.1, TORQUE, [np.float32(0.1)]),
        ([0], TORQUE, [0.0]),
        ([[1, 0.5], [0, -1]], GRID, [[1.0, 0.5], [0.0, -1.0]]),
    ],
)
def test_actions_are_taken_as_people_write_them(value, action, expected):
    parsed = parse_action(value, action, "constant")
    assert parsed.dtype == action.dtype
    assert parsed.shape == action.shape
    assert parsed.tolist() == expected


@pytest.mark.parametrize(
    ("value", "action", "line"),
    [
        (0, GEARS, "0 is not an action; expected an integer from 1 to 3, or one of low, high, park"),
        (
            "hihg",
            GEARS,
            (
                "'hihg' is not an action; expected an integer from 1 to 3, or one of low, high, park. "
                "Did you mean high?"
            ),
        ),
        (
            True,
            GEARS,
            (
                "True is not an action; expected an integer from 1 to 3, or one of low, high, park. "
                "YAML reads on, off, yes and no as true and false: quote names."
            ),
        ),
        ("left", PLAIN, "'left' is not an action; expected an integer from 0 to 1"),
        (2, PLAIN, "2 is not an action; expected an integer from 0 to 1"),
        (1.0, PLAIN, "1.0 is not an action; expected an integer from 0 to 1"),
        ([1], PLAIN, "[1] is not an action; expected an integer from 0 to 1"),
        ({"a": 1}, PLAIN, "{'a': 1} is not an action; expected an integer from 0 to 1"),
        (2**70, PLAIN, f"{2**70} is not an action; expected an integer from 0 to 1"),
        (
            [1, 3],
            PAIR,
            "[1, 3] is not an action; expected a list of 2 integers, each from 0 and below [2, 3]",
        ),
        ([1], PAIR, "[1] is not an action; expected a list of 2 integers, each from 0 and below [2, 3]"),
        ([0, 2], SWITCHES, "[0, 2] is not an action; expected a list of 2 switches, each 0 or 1"),
        ([0, "x"], SWITCHES, "[0, 'x'] is not an action; expected a list of 2 switches, each 0 or 1"),
        (
            [0, 3],
            THRUST,
            "[0, 3] is not an action; expected numbers of shape [2] from [-1.0, 0.0] to [1.0, 2.0]",
        ),
        (0.5, THRUST, "0.5 is not an action; expected numbers of shape [2] from [-1.0, 0.0] to [1.0, 2.0]"),
        (
            [float("nan"), 0],
            THRUST,
            "[nan, 0] is not an action; expected numbers of shape [2] from [-1.0, 0.0] to [1.0, 2.0]",
        ),
        (
            [1e300, 0],
            THRUST,
            "[1e+300, 0] is not an action; expected numbers of shape [2] from [-1.0, 0.0] to [1.0, 2.0]",
        ),
        (0.11, TORQUE, "0.11 is not an action; expected numbers of shape [1] from [-0.1] to [0.1]"),
        (True, TORQUE, "True is not an action; expected numbers of shape [1] from [-0.1] to [0.1]"),
        (
            [[1], [2, 3]],
            GRID,
            (
                "[[1], [2, 3]] is not an action; expected numbers of shape [2, 2] from "
                "[[-1.0, -1.0], [-1.0, -1.0]] to [[1.0, 1.0], [1.0, 1.0]]"
            ),
        ),
    ],
)
def test_what_is_no_action_is_refused_with_what_would_be(value, action, line):
    with pytest.raises(SafetyError) as error:
        parse_action(value, action, "fallback[0].constant")
    assert str(error.value) == f"fallback[0].constant: {line}"


@quick
@given(masked_actions.flatmap(lambda action: some_actions(1, action).map(lambda found: (action, found))))
def test_exactly_the_actions_of_the_space_are_taken(case):
    action, found = case
    if permits(None, found, action)[0]:
        assert parse_action(found[0].tolist(), action, "x").tolist() == found[0].tolist()
    else:
        with pytest.raises(SafetyError):
            parse_action(found[0].tolist(), action, "x")


@given(all_actions)
def test_null_is_never_an_action(action):
    with pytest.raises(SafetyError):
        parse_action(None, action, "x")
