"""All checks of the guard at once: the first that fails decides, each row by itself."""

import math
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.joint import JointDistance
from steersman.safety.guard import (
    GUARD_REASONS,
    FeatureRange,
    Guard,
    GuardReason,
    GuardSettings,
    TrainingRange,
)
from steersman.safety.guard_settings import StaleObservation, StuckSensor, TrainingDistance
from unit.safety.episodes import Episodes
from unit.safety.strategies import CART, EXTREMES, feature_rows, quick, reference_with

JOINT = JointDistance(
    center=np.zeros(4),
    whitening=np.eye(4),
    quantiles=np.array([0.9]),
    step_limits=np.array([2.0]),
    episode_limits=np.array([2.0]),
)
REFERENCE = replace(reference_with([-2.0] * 4, [2.0] * 4), joint=JOINT)
PARTS = {
    "bounds": "fallback",
    "ranges": {"pole_angle": FeatureRange(high=1.0)},
    "training_range": TrainingRange(margin=0.0, action="reject"),
    "stuck": StuckSensor(features=("pole_angle",), steps=1, action="reject"),
    "stale": StaleObservation(max_age_s=1.0, missing="reject"),
    "distance": TrainingDistance(quantile=0.9, action="fallback"),
}
"""In the order in which they decide, after the check for finite numbers."""

subsets = st.sets(st.sampled_from(sorted(PARTS))).map(
    lambda names: GuardSettings(**{name: PARTS[name] for name in PARTS if name in names})
)
ages = st.lists(st.sampled_from([0.0, 2.0, math.nan]), min_size=3, max_size=3).map(np.array)


def guards_in_order(settings):
    """Guards of one check each, in the order in which checks decide."""
    alone = [GuardSettings()]
    alone += [
        GuardSettings(**{name: PARTS[name]})
        for name in PARTS
        if getattr(settings, name) not in (None, "off", {})
    ]
    return [Guard.compile(each, CART, REFERENCE) for each in alone]


def memory_of(guard, previous):
    """Rows that have seen some values a step before."""
    episodes = Episodes(guard.fields(), len(previous))
    memory = episodes.step(0.1)
    guard.update(memory, previous)
    episodes.keep(memory)
    return episodes.step(0.1)


def verdict_of(guard, features, previous, ages_s):
    found = guard.check({}, features, memory_of(guard, previous), ages_s)
    return [(GUARD_REASONS[c], bool(r)) for c, r in zip(found.codes, found.rejected, strict=True)]


@quick
@given(subsets, feature_rows(3, 4), ages, st.booleans())
def test_the_first_check_that_fails_decides(settings, features, ages_s, stuck):
    previous = features if stuck else features + 1.0
    each = [verdict_of(guard, features, previous, ages_s) for guard in guards_in_order(settings)]
    passed = (GuardReason.NONE, False)
    expected = [next((v[i] for v in each if v[i] != passed), passed) for i in range(3)]
    guard = Guard.compile(settings, CART, REFERENCE)
    assert verdict_of(guard, features, previous, ages_s) == expected
    memory = memory_of(guard, previous)
    for i, (reason, _) in enumerate(expected):
        text = guard.explain(i, {}, features, memory, ages_s)
        assert (text == "") == (reason == "")
        assert guard.explain(i, {}, features, memory, ages_s, reason=reason) == text


@quick
@given(feature_rows(3, 4), ages, st.lists(st.sampled_from(EXTREMES), min_size=4, max_size=4))
def test_a_verdict_does_not_depend_on_other_rows(features, ages_s, mate):
    guard = Guard.compile(GuardSettings(**PARTS), CART, REFERENCE)
    together = verdict_of(guard, features, features, ages_s)
    alone = [
        verdict_of(guard, features[i : i + 1], features[i : i + 1], ages_s[i : i + 1])[0] for i in range(3)
    ]
    assert together == alone
    crowd = np.array([*features, mate])
    assert verdict_of(guard, crowd, crowd, np.append(ages_s, 0.0))[:3] == together


def test_every_reason_can_be_given():
    guard = Guard.compile(GuardSettings(**PARTS), CART, REFERENCE)
    features = np.array(
        [
            [0.0, 0.0, 0.5, 0.0],
            [math.nan, 0.0, 0.0, 0.0],
            [5.0, 0.0, 0.0, 0.0],
            [3.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.25, 0.0],
            [0.0, 0.0, 0.5, 0.0],
            [1.5, 1.5, 0.5, 0.0],
        ]
    )
    previous = np.full((7, 4), 0.25)
    ages_s = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 9.0, 0.0])
    assert [reason for reason, _ in verdict_of(guard, features, previous, ages_s)] == list(GUARD_REASONS)
