import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.specs import ObservationSpec
from steersman.bundle.validation import SettingsError, validated
from steersman.safety.errors import SafetyError
from steersman.safety.guard import GUARD_REASONS, Guard, GuardSettings
from steersman.safety.guard_settings import StuckSensor
from unit.safety.episodes import Episodes
from unit.safety.strategies import CART, EXTREMES, FEATURES, quick

NAMES = ("pole_angle", "cart_position")


def guard_of(steps=3, action="fallback", features=NAMES):
    return Guard.compile(
        GuardSettings(stuck=StuckSensor(features=features, steps=steps, action=action)), CART
    )


def reasons(verdicts):
    return [GUARD_REASONS[code] for code in verdicts.codes]


def take_step(guard, episodes, features):
    memory = episodes.step(0.1)
    found = guard.check({}, features, memory)
    guard.update(memory, features)
    episodes.keep(memory)
    return found


def is_stuck(values, steps):
    """The definition: the last `steps + 1` values are the same."""
    last = values[-steps - 1 :]
    return len(last) > steps and all(value == last[0] for value in last)


few_values = st.sampled_from([0.0, -0.0, 1.0, math.nan])
row = st.lists(few_values, min_size=4, max_size=4)


@quick
@given(st.integers(1, 4), st.lists(st.tuples(row, row, st.booleans()), max_size=12))
def test_a_feature_is_stuck_after_so_many_equal_values_of_one_episode(steps, script):
    guard = guard_of(steps)
    episodes = Episodes(guard.fields(), rows=2)
    seen = ([], [])
    for first, second, forgets in script:
        if forgets:
            episodes.forget(1)
            seen[1].clear()
        features = np.array([first, second])
        found = take_step(guard, episodes, features)
        for i in range(2):
            seen[i].append(features[i])
            stuck = any(is_stuck([r[FEATURES.index(name)] for r in seen[i]], steps) for name in NAMES)
            finite = np.isfinite(features[i]).all()
            expected = ("observation_stuck" if stuck else "") if finite else "observation_non_finite"
            assert reasons(found)[i] == expected


@quick
@given(st.lists(st.sampled_from(EXTREMES) | st.floats(), min_size=4, max_size=4))
def test_values_are_remembered_to_the_last_bit(values):
    guard = guard_of(steps=1)
    episodes = Episodes(guard.fields(), rows=1)
    for _ in range(2):
        features = np.array([values])
        memory = episodes.step(0.1)
        guard.update(memory, features)
        episodes.keep(memory)
    expected = [] if math.isnan(values[2]) and math.isnan(values[0]) else ["has been"]
    text = guard.explain(0, {}, np.array([values]), episodes.step(0.1), reason="observation_stuck")
    assert [word for word in ["has been"] if word in text] == expected


def test_what_is_wrong_is_told_and_is_the_same_after_the_step():
    guard = guard_of(steps=2, action="reject")
    episodes = Episodes(guard.fields(), rows=1)
    features = np.array([[0.5, 0.0, 0.25, 0.0]])
    for _ in range(2):
        assert take_step(guard, episodes, features).clean
        features[0, 0] += 1
    memory = episodes.step(0.1)
    found = guard.check({}, features, memory)
    assert (reasons(found), found.rejected.tolist()) == (["observation_stuck"], [True])
    message = "feature 'pole_angle' has been 0.25 for more than 2 steps; expected it to change"
    assert guard.explain(0, {}, features, memory) == message
    guard.update(memory, features)
    assert guard.explain(0, {}, features, memory, reason="observation_stuck") == message


def test_without_memory_nothing_is_stuck():
    guard = guard_of(steps=1)
    assert guard.check({}, np.zeros((3, 4))).clean
    assert guard.explain(0, {}, np.zeros((1, 4))) == ""


def test_a_guard_that_needs_no_memory_says_so_and_updates_nothing():
    guard = Guard.compile(GuardSettings(), CART)
    assert guard.fields() == {}
    guard.update(Episodes({}, rows=1).step(0.0), np.zeros((1, 4)))


def test_counts_of_other_features_are_not_taken_over():
    one, other = guard_of(features=("pole_angle",)), guard_of(features=("cart_position",))
    episodes = Episodes(one.fields(), rows=1)
    take_step(one, episodes, np.zeros((1, 4)))
    _, known = Episodes(other.fields(), rows=1).layout.unpack(episodes.records)
    assert not known.any()


def test_unknown_features_and_images_are_refused_at_load():
    with pytest.raises(SafetyError) as error:
        guard_of(features=("pole_angel",))
    assert str(error.value).startswith("guard.stuck.features: there is no feature 'pole_angel'")
    assert error.value.hint == "Did you mean pole_angle or pole_angular_velocity?"
    image = ObservationSpec(dtype="uint8", shape=(40, 40, 3), low=(0.0,), high=(255.0,))
    contract = CART.model_copy(update={"observations": (image,)})
    settings = GuardSettings(stuck=StuckSensor(features=("obs_0",), steps=3))
    with pytest.raises(SafetyError, match="too many elements"):
        Guard.compile(settings, contract)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"features": ["a", "b", "a"], "steps": 3}, "d.yaml: stuck: 'a' is named twice"),
        ({"features": ["a"], "steps": 0}, "d.yaml: stuck.steps: got 0; expected greater than or equal to 1"),
        ({"features": ["a"]}, "d.yaml: stuck.steps: missing field"),
        (
            {"features": ["a"], "step": 3},
            (
                "d.yaml: stuck.step: unknown field; expected one of action, features, steps. "
                "Did you mean steps?"
            ),
        ),
    ],
)
def test_each_mistake_has_its_line(data, line):
    with pytest.raises(SettingsError) as error:
        validated(GuardSettings, {"stuck": data}, where="d.yaml")
    assert str(error.value) == line
