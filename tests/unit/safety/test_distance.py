import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.bundle.joint import JointDistance
from steersman.bundle.specs import ObservationSpec
from steersman.safety.errors import SafetyError
from steersman.safety.guard import GUARD_REASONS, Guard, GuardSettings
from steersman.safety.guard_settings import TrainingDistance
from unit.safety.strategies import CART, feature_rows, quick, reference_with

BARE = reference_with([-4.0] * 4, [4.0] * 4)
TWINS = np.eye(4)
TWINS[0, 1] = TWINS[1, 0] = 0.99  # the first two features go together


def joint_of(covariance=TWINS, steps=(3.0, 4.0, math.inf), episodes=(5.0, math.inf, math.inf)):
    values, vectors = np.linalg.eigh(covariance)
    return JointDistance(
        center=np.array([1.0, 1.0, 0.0, 0.0]),
        whitening=vectors / np.sqrt(values),
        quantiles=np.array([0.9, 0.99, 0.999]),
        step_limits=np.array(steps),
        episode_limits=np.array(episodes),
    )


REFERENCE = replace(BARE, joint=joint_of())


def guard_of(reference=REFERENCE, **fields):
    return Guard.compile(GuardSettings(distance=TrainingDistance(**fields)), CART, reference)


@quick
@given(feature_rows(4, 4), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_rows_beyond_the_limit_fail(features, quantile):
    found = guard_of(quantile=quantile).check({}, features)
    limit = 3.0 if quantile <= 0.9 else 4.0
    for i, row in enumerate(features):
        with np.errstate(over="ignore", invalid="ignore"):
            difference = row - [1.0, 1.0, 0.0, 0.0]
            squared = difference @ np.linalg.inv(TWINS) @ difference
        if not np.isfinite(row).all():
            assert GUARD_REASONS[found.codes[i]] == "observation_non_finite"
        elif not math.isclose(squared, limit**2, rel_tol=1e-6):
            assert found.passed[i] == (squared <= limit**2)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 64))
def test_a_verdict_at_the_very_limit_does_not_depend_on_other_rows(seed, rows, width):
    """The limit is one row's own distance: the last bit decides."""
    rng = np.random.default_rng(seed)
    names = tuple(f"f{i}" for i in range(width))
    spec = ObservationSpec(
        dtype="float64", shape=(width,), low=(-math.inf,), high=(math.inf,), feature_names=names
    )
    contract = CART.model_copy(update={"observations": (spec,)})
    features = rng.normal(size=(rows, width))
    joint = replace(joint_of(), center=np.zeros(width), whitening=rng.normal(size=(width, width)))
    limits = np.full(3, np.sqrt(joint.squared_alone(features[:1])[0]))
    reference = replace(
        reference_with([-1.0] * width, [1.0] * width), joint=replace(joint, step_limits=limits)
    )
    guard = Guard.compile(GuardSettings(distance=TrainingDistance(quantile=0.9)), contract, reference)
    together = guard.check({}, features).passed.tolist()
    assert together == [bool(guard.check({}, features[i : i + 1]).passed[0]) for i in range(rows)]
    assert together[::-1] == guard.check({}, features[::-1].copy()).passed.tolist()


def test_features_that_are_each_usual_may_be_far_off_together():
    guard = guard_of(quantile=0.99)
    features = np.array([[1.5, 1.5, 0.0, 0.0], [1.5, 0.5, 0.0, 0.0]])
    assert guard.check({}, features).passed.tolist() == [True, False]
    assert guard.explain(0, {}, features) == ""
    assert guard.explain(1, {}, features) == (
        "the features together are 7.071 standard deviations from training, most of it by 'cart_position'; "
        "expected at most 4 (quantile 0.99 of steps in training)"
    )


@pytest.mark.parametrize("second", [1e308, -1e308])  # their sum is infinite, or infinity less infinity
def test_huge_features_are_far_off_and_have_words(second):
    guard = guard_of(quantile=0.9)
    features = np.array([[1e308, second, 1e308, 0.0]])
    assert not guard.check({}, features).passed[0]
    assert guard.explain(0, {}, features).startswith("the features together are inf standard deviations")


def test_a_quantile_of_episodes_has_its_own_limit():
    features = np.array([[1.0, 1.0, 4.5, 0.0]])
    assert not guard_of(quantile=0.9).check({}, features).clean
    assert guard_of(quantile=0.9, of="episodes").check({}, features).clean
    found = guard_of(quantile=0.9, action="reject").check({}, features)
    assert found.rejected.tolist() == [True]


@pytest.mark.parametrize(
    ("reference", "fields", "line"),
    [
        (
            None,
            {"quantile": 0.9},
            (
                "guard.distance: the bundle has no reference; expected a bundle with a joint distance"
                " of its 4 features"
            ),
        ),
        (
            BARE,
            {"quantile": 0.9},
            (
                "guard.distance: the bundle's reference has no joint distance; expected a bundle with"
                " a joint distance of its 4 features. Export the policy again, with an environment or"
                " recorded episodes, or leave this out."
            ),
        ),
        (
            replace(BARE, joint=replace(joint_of(), center=np.zeros(3))),
            {"quantile": 0.9},
            (
                "guard.distance: the joint distance is of 3 features; expected a bundle with a joint "
                "distance of its 4 features"
            ),
        ),
        (
            REFERENCE,
            {"quantile": 0.999},
            (
                "guard.distance.quantile: the reference's episodes are too few for quantile 0.999 of "
                "steps; expected at most 0.99. Export the policy again with more --reference-"
                "episodes."
            ),
        ),
        (
            replace(BARE, joint=joint_of(episodes=(math.inf,) * 3)),
            {"quantile": 0.9, "of": "episodes"},
            (
                "guard.distance.quantile: the reference's episodes are too few for quantile 0.9 of "
                "episodes; expected none. Export the policy again with more --reference-episodes."
            ),
        ),
    ],
)
def test_what_the_reference_cannot_tell_is_refused_at_load(reference, fields, line):
    with pytest.raises(SafetyError) as error:
        guard_of(reference, **fields)
    assert str(error.value) == line
