import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.safety.guard import GUARD_REASONS, Guard, GuardSettings
from steersman.safety.guard_settings import StaleObservation
from unit.safety.strategies import CART, quick

ages = st.floats(-3, 3) | st.sampled_from([math.nan, math.inf, -math.inf, 0.5, -0.5])
settings = st.builds(
    StaleObservation,
    max_age_s=st.sampled_from([0.5, 1.0]),
    missing=st.sampled_from(["pass", "fallback", "reject"]),
    action=st.sampled_from(["fallback", "reject"]),
)


def plain_verdict(age, stale):
    """The guard's definition: does the row pass, and is it rejected?"""
    if math.isnan(age):
        return stale.missing == "pass", stale.missing == "reject"
    passes = -stale.max_age_s <= age <= stale.max_age_s
    return passes, not passes and stale.action == "reject"


def guard_of(**fields):
    return Guard.compile(GuardSettings(stale=StaleObservation(**fields)), CART)


@quick
@given(settings, st.lists(ages, min_size=1, max_size=4))
def test_rows_pass_that_are_young_enough(stale, seconds):
    guard = Guard.compile(GuardSettings(stale=stale), CART)
    features = np.zeros((len(seconds), 4))
    found = guard.check({}, features, ages_s=np.array(seconds))
    expected = [plain_verdict(age, stale) for age in seconds]
    assert list(zip(found.passed.tolist(), found.rejected.tolist(), strict=True)) == expected
    assert {GUARD_REASONS[code] for code in found.codes} <= {"", "observation_stale"}
    told = [guard.explain(i, {}, features, ages_s=np.array(seconds)) == "" for i in range(len(seconds))]
    assert told == found.passed.tolist()


@pytest.mark.parametrize(("missing", "passes"), [("pass", True), ("fallback", False), ("reject", False)])
def test_where_no_row_says_its_age_all_are_treated_alike(missing, passes):
    guard = guard_of(max_age_s=1.0, missing=missing)
    found = guard.check({}, np.zeros((2, 4)))
    assert (found.clean, found.passed.tolist()) == (passes, [passes] * 2)
    assert found.rejected.tolist() == [missing == "reject"] * 2


@pytest.mark.parametrize(
    ("age", "message"),
    [
        (0.75, "the observation is 0.75 s old by the server's clock; expected at most 0.5 s"),
        (-2.0, "the observation was made 2 s in the future by the server's clock; expected at most 0.5 s"),
        (
            math.nan,
            "the observation does not say when it was made; expected observation_times_unix_nanos",
        ),
        (0.5, ""),
    ],
)
def test_its_words(age, message):
    guard = guard_of(max_age_s=0.5)
    assert guard.explain(0, {}, np.zeros((1, 4)), ages_s=np.array([age])) == message


def test_tensors_without_a_matrix_are_judged_too():
    guard = guard_of(max_age_s=0.5)
    observations = {"obs": np.zeros((2, 4), np.float32)}
    assert guard.check(observations, ages_s=np.array([0.0, 1.0])).passed.tolist() == [True, False]
