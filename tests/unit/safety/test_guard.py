import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.features import feature_matrix
from steersman.bundle.specs import Contract, DiscreteAction, ObservationSpec, bounds, feature_names
from steersman.safety.guard import (
    GUARD_REASONS,
    FeatureRange,
    Guard,
    GuardReason,
    GuardSettings,
    TrainingRange,
    benign_row,
)
from unit.safety.strategies import CART, EXTREMES, FEATURES, feature_rows, quick, reference_with

REFERENCE = reference_with([-2.0, -3.0, -0.2, 1.0], [2.0, 3.0, 0.2, 1.0])
EVERYTHING = GuardSettings(
    non_finite="fallback",
    bounds="reject",
    ranges={"pole_angle": FeatureRange(low=-0.3, high=0.4), "cart_velocity": FeatureRange(high=3.5)},
    ranges_action="fallback",
    training_range=TrainingRange(margin=0.25, action="reject"),
)

actions = st.sampled_from(["fallback", "reject"])
ranges = st.dictionaries(
    st.sampled_from(FEATURES),
    st.builds(FeatureRange, low=st.floats(-3, -1), high=st.none() | st.floats(1, 3)),
)
guard_settings = st.builds(
    GuardSettings,
    non_finite=actions,
    bounds=st.sampled_from(["off", "fallback", "reject"]),
    ranges=ranges,
    ranges_action=actions,
    training_range=st.none() | st.builds(TrainingRange, margin=st.floats(0, 2), action=actions),
)


def plain_verdict(row, settings):
    """The guard's definition, one value at a time: reason and whether it rejects."""
    if not all(math.isfinite(x) for x in row):
        return GuardReason.OBSERVATION_NON_FINITE, settings.non_finite == "reject"
    if settings.bounds != "off" and not all(-4.0 <= x <= 4.0 for x in row):
        return GuardReason.OBSERVATION_OUT_OF_BOUNDS, settings.bounds == "reject"
    for name, limits in settings.ranges.items():
        x = row[FEATURES.index(name)]
        if (limits.low is not None and x < limits.low) or (limits.high is not None and x > limits.high):
            return GuardReason.OBSERVATION_OUT_OF_BOUNDS, settings.ranges_action == "reject"
    if settings.training_range:
        margin, action = settings.training_range.margin, settings.training_range.action
        edges = REFERENCE.feature_edges
        for x, first, last in zip(row, edges[:, 0], edges[:, -1], strict=True):
            if x < first - margin * (last - first) or x > last + margin * (last - first):
                return GuardReason.OBSERVATION_OUT_OF_TRAINING_RANGE, action == "reject"
    return GuardReason.NONE, False


def verdicts_of(guard, features):
    found = guard.check({}, features)
    return [
        (GUARD_REASONS[code], bool(rejected))
        for code, rejected in zip(found.codes, found.rejected, strict=True)
    ]


@quick
@given(guard_settings, st.integers(0, 5).flatmap(lambda rows: feature_rows(rows, 4)))
def test_the_guard_is_its_plain_definition(settings, features):
    guard = Guard.compile(settings, CART, REFERENCE)
    expected = [plain_verdict(row, settings) for row in features]
    assert verdicts_of(guard, features) == expected
    found = guard.check({}, features)
    assert found.passed.tolist() == [reason is GuardReason.NONE for reason, _ in expected]
    assert found.clean == found.passed.all()


@quick
@given(guard_settings, feature_rows(4, 4))
def test_a_verdict_does_not_depend_on_other_rows(settings, features):
    guard = Guard.compile(settings, CART, REFERENCE)
    together = verdicts_of(guard, features)
    assert together == [verdicts_of(guard, features[i : i + 1])[0] for i in range(4)]
    assert together[::-1] == verdicts_of(guard, features[::-1])


@quick
@given(guard_settings, feature_rows(3, 4))
def test_exactly_the_rows_that_fail_have_an_explanation(settings, features):
    guard = Guard.compile(settings, CART, REFERENCE)
    passed = guard.check({}, features).passed
    assert [guard.explain(i, {}, features) == "" for i in range(3)] == passed.tolist()


NESTED = Contract(
    observations=(
        ObservationSpec(
            key="camera", dtype="uint8", shape=(2, 2), low=(0.0,), high=(200.0,), feature_names=tuple("abcd")
        ),
        ObservationSpec(
            key="joints", dtype="float32", shape=(3,), low=(-1.0, -2.0, -3.0), high=(1.0, 2.0, 3.0)
        ),
        ObservationSpec(key="half", dtype="float16", shape=(), low=(-math.inf,), high=(math.inf,)),
        ObservationSpec(key="flag", dtype="bool", shape=(1,), low=(0.0,), high=(1.0,)),
        ObservationSpec(key="gear", dtype="int64", shape=(), low=(1.0,), high=(5.0,)),
    ),
    action=DiscreteAction(n=2),
    distribution="categorical",
    outputs=("action", "distribution"),
)
_value = st.sampled_from(EXTREMES[:3]) | st.floats(-4, 4)


@st.composite
def nested_observations(draw):
    rows = draw(st.integers(1, 4))
    columns = {"camera": st.integers(0, 255), "flag": st.booleans(), "gear": st.integers(0, 6)}
    return {
        spec.input_name: np.asarray(
            draw(
                st.lists(columns.get(spec.key, _value), min_size=rows * spec.size, max_size=rows * spec.size)
            )
        )
        .astype(spec.dtype)
        .reshape(rows, *spec.shape)
        for spec in NESTED.observations
    }


@quick
@given(nested_observations(), st.sampled_from(["off", "fallback"]), st.booleans())
def test_tensors_and_the_matrix_made_of_them_are_judged_alike(observations, declared, ranged):
    ranges = {"c": FeatureRange(high=100.0), "half_0": FeatureRange(low=0.0)} if ranged else {}
    guard = Guard.compile(GuardSettings(bounds=declared, ranges=ranges), NESTED)
    matrix = feature_matrix(observations, NESTED)
    alone, whole = guard.check(observations), guard.check({}, matrix)
    assert alone.codes.tolist() == whole.codes.tolist()
    assert [guard.explain(i, observations) for i in range(len(matrix))] == [
        guard.explain(i, {}, matrix) for i in range(len(matrix))
    ]


def image_contract(dtype):
    spec = ObservationSpec(dtype=dtype, shape=(40, 40, 3), low=(0.0,), high=(255.0,))
    return NESTED.model_copy(update={"observations": (spec,)})


def test_float_images_are_judged_without_a_matrix():
    images = np.zeros((3, 40, 40, 3), np.float32)
    images[1, 5, 6, 1] = np.inf
    guard = Guard.compile(GuardSettings(), image_contract("float32"))
    assert guard.check({"obs": images}).passed.tolist() == [True, False, True]
    feature = (5 * 40 + 6) * 3 + 1
    assert guard.explain(1, {"obs": images}) == f"feature 'obs_{feature}' is inf; expected a finite number"


def test_integer_images_always_pass_declared_bounds_that_their_type_cannot_leave():
    guard = Guard.compile(GuardSettings(bounds="reject"), image_contract("uint8"))
    assert guard.check({"obs": np.full((2, 40, 40, 3), 255, np.uint8)}).clean


@pytest.mark.parametrize(
    ("row", "reason", "rejected", "message"),
    [
        (
            [0.0, math.nan, 9.0, 1.0],
            "observation_non_finite",
            False,
            "feature 'cart_velocity' is nan; expected a finite number",
        ),
        (
            [-math.inf, 0.0, 0.0, 1.0],
            "observation_non_finite",
            False,
            "feature 'cart_position' is -inf; expected a finite number",
        ),
        (
            [4.5, 0.0, 0.39, 1.0],
            "observation_out_of_bounds",
            True,
            "feature 'cart_position' is 4.5; expected -4 to 4 (declared bounds)",
        ),
        (
            [0.0, 3.75, 0.0, 1.0],
            "observation_out_of_bounds",
            False,
            "feature 'cart_velocity' is 3.75; expected at most 3.5 (range set by the deployment)",
        ),
        (
            [0.0, 0.0, -0.5, 1.0],
            "observation_out_of_bounds",
            False,
            "feature 'pole_angle' is -0.5; expected -0.3 to 0.4 (range set by the deployment)",
        ),
        (
            [3.5, 0.0, 0.0, 1.0],
            "observation_out_of_training_range",
            True,
            "feature 'cart_position' is 3.5; expected -3 to 3 (training range with margin 0.25)",
        ),
        ([3.0, -3.5, 0.3, 1.0], "", False, ""),
    ],
)
def test_each_reason_and_its_words(row, reason, rejected, message):
    guard = Guard.compile(EVERYTHING, CART, REFERENCE)
    features = np.array([row])
    assert verdicts_of(guard, features) == [(reason, rejected)]
    assert guard.explain(0, {}, features) == message


def test_a_range_with_a_low_end_only_says_so():
    guard = Guard.compile(GuardSettings(ranges={"pole_angle": FeatureRange(low=0.5)}), CART)
    message = "feature 'pole_angle' is 0; expected at least 0.5 (range set by the deployment)"
    assert guard.explain(0, {}, np.zeros((1, 4))) == message


def test_a_feature_without_reference_edges_has_no_training_range():
    reference = reference_with([-2.0, math.nan, -0.2, 1.0], [2.0, math.nan, math.inf, 1.0])
    guard = Guard.compile(GuardSettings(training_range=TrainingRange(margin=0.0)), CART, reference)
    assert guard.check({}, np.array([[0.0, 1e300, 1e300, 1.0]])).clean


def test_verdicts_that_are_shared_cannot_be_written_to():
    verdicts = Guard.compile(GuardSettings(), CART).check({}, np.zeros((2, 4)))
    with pytest.raises(ValueError, match="read-only"):
        verdicts.passed[0] = False


def test_reasons_are_the_words_of_the_decision_vocabulary():
    assert GUARD_REASONS == (
        "",
        "observation_non_finite",
        "observation_out_of_bounds",
        "observation_out_of_training_range",
        "observation_stuck",
        "observation_stale",
        "observation_far_from_training",
    )


@quick
@given(
    st.floats(-1e3, 1e3), st.floats(0, 1e3), st.sampled_from(["float32", "float64", "int64", "uint8", "bool"])
)
def test_the_benign_row_is_zero_or_the_nearest_bound(low, width, dtype):
    low, high = (
        (0.0, 1.0) if dtype in {"bool", "uint8"} else (math.ceil(low), math.ceil(low) + math.ceil(width))
    )
    spec = ObservationSpec(key="k", dtype=dtype, shape=(2, 3), low=(low,), high=(high,))
    row = benign_row(NESTED.model_copy(update={"observations": (spec,)}))["obs/k"]
    assert row.dtype == dtype
    assert row.shape == (1, 2, 3)
    assert (row == min(max(0.0, low), high)).all()


def test_the_benign_row_passes_the_strictest_guard():
    guard = Guard.compile(GuardSettings(bounds="reject"), NESTED)
    assert guard.check(benign_row(NESTED)).clean
    assert list(benign_row(NESTED)) == [spec.input_name for spec in NESTED.observations]
    assert len(feature_names(NESTED)) == sum(bounds(spec)[0].size for spec in NESTED.observations)
