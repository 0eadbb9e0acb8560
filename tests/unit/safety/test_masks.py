import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.specs import BoxAction, DiscreteAction, MultiBinaryAction, MultiDiscreteAction
from steersman.safety.masks import all_false_segments, permits
from unit.safety.strategies import (
    all_actions,
    is_permitted,
    masked_actions,
    masks,
    quick,
    some_actions,
)


@st.composite
def asked(draw):
    action = draw(all_actions)
    rows = draw(st.integers(0, 5))
    mask = draw(st.none() | masks(rows, sum(action.mask_segments)))
    return mask, draw(some_actions(rows, action)), action


@quick
@given(asked())
def test_permits_is_the_plain_definition(case):
    mask, actions, action = case
    expected = [
        is_permitted(None if mask is None else mask[i], actions[i], action) for i in range(len(actions))
    ]
    found = permits(mask, actions, action)
    assert found.dtype == np.bool_
    assert found.tolist() == expected


@quick
@given(st.data())
def test_a_segment_without_a_choice_is_found(data):
    action = data.draw(masked_actions)
    mask = data.draw(masks(data.draw(st.integers(0, 5)), sum(action.mask_segments)))
    ends = np.cumsum(action.mask_segments)[:-1]
    expected = [any(not part.any() for part in np.split(row, ends)) for row in mask]
    assert all_false_segments(mask, action.mask_segments).tolist() == expected


@quick
@given(st.data())
def test_where_no_segment_is_all_false_some_action_is_permitted(data):
    action = data.draw(masked_actions)
    mask = data.draw(masks(1, sum(action.mask_segments)))
    first, choices = 0, []
    for width in action.mask_segments:
        choices.append(int(np.argmax(mask[0, first : first + width])))
        first += width
    start = action.start if isinstance(action, DiscreteAction) else 0
    actions = np.asarray(choices).reshape(1, *action.shape) + start
    assert permits(mask, actions, action)[0] != all_false_segments(mask, action.mask_segments)[0]


def test_discrete_actions_are_counted_from_start():
    action = DiscreteAction(n=3, start=10)
    mask = np.array([[True, False, True]] * 5)
    assert permits(mask, np.array([9, 10, 11, 12, 13]), action).tolist() == [False, True, False, True, False]


def test_multi_discrete_takes_the_segment_of_each_dimension():
    action = MultiDiscreteAction(nvec=(2, 3))
    mask = np.array([[True, False, False, True, True]] * 3)
    assert permits(mask, np.array([[0, 1], [1, 1], [0, 0]]), action).tolist() == [True, False, False]


def test_multi_binary_pairs_are_off_then_on():
    action = MultiBinaryAction(n=2)
    mask = np.array([[True, False, False, True]] * 2)
    actions = np.array([[0, 1], [1, 1]], np.int8)
    assert permits(mask, actions, action).tolist() == [True, False]


def test_masks_do_not_apply_to_box():
    action = BoxAction(shape=(1,), low=(-1.0,), high=(1.0,))
    mask = np.zeros((2, 0), bool)
    assert permits(mask, np.array([[9.0], [0.0]]), action).all()
    assert not all_false_segments(mask, action.mask_segments).any()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "int64"])
def test_every_integer_type_of_action_is_understood(dtype):
    actions = np.array([0, 1, np.iinfo(dtype).max], dtype)
    assert permits(np.array([[False, True]] * 3), actions, DiscreteAction(n=2)).tolist() == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(("dtype", "start", "n"), [("int8", -100, 200), ("uint8", 3, 250), ("uint8", -3, 9)])
def test_narrow_types_do_not_overflow(dtype, start, n):
    action = DiscreteAction(n=n, start=start, dtype=dtype)
    highest = min(start + n - 1, np.iinfo(dtype).max)
    assert permits(np.ones((1, n), bool), np.array([highest], dtype), action).all()


def test_a_mask_that_is_a_view_is_read_right():
    mask = np.array([[True, False], [False, True]]).T[::-1]
    assert permits(mask, np.array([1, 0]), DiscreteAction(n=2)).all()
