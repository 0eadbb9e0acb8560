import pytest

from steersman.bundle.validation import SettingsError, validated
from steersman.safety.errors import SafetyError
from steersman.safety.guard import FeatureRange, Guard, GuardSettings, TrainingRange
from unit.safety.strategies import CART, reference_with


def test_the_default_checks_finiteness_only_and_falls_back():
    settings = GuardSettings()
    assert (settings.non_finite, settings.bounds, settings.ranges) == ("fallback", "off", {})
    assert settings.training_range is None


def test_a_bare_off_in_yaml_is_understood():
    assert validated(GuardSettings, {"bounds": False}, where="d.yaml").bounds == "off"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            {"non_finte": "reject"},
            (
                "d.yaml: non_finte: unknown field; expected one of bounds, confidence, distance, non_finite, "
                "ranges, ranges_action, stale, stuck, training_range. Did you mean non_finite?"
            ),
        ),
        (
            {"bounds": "rejct"},
            "d.yaml: bounds: got 'rejct'; expected 'off', 'fallback' or 'reject'. Did you mean reject?",
        ),
        ({"ranges": {"x": {}}}, "d.yaml: ranges.x: a range needs low, high or both"),
        ({"ranges": {"x": {"low": 2, "high": 1}}}, "d.yaml: ranges.x: low 2 is above high 1"),
        (
            {"ranges": {"x": {"lo": 2}}},
            "d.yaml: ranges.x.lo: unknown field; expected one of high, low. Did you mean low?",
        ),
        (
            {"training_range": {"margin": -0.5}},
            "d.yaml: training_range.margin: got -0.5; expected greater than or equal to 0",
        ),
        ({"training_range": {}}, "d.yaml: training_range.margin: missing field"),
        (
            {"ranges": {"x": {"low": float("nan")}}},
            "d.yaml: ranges.x.low: got nan; expected a finite number",
        ),
    ],
)
def test_each_mistake_has_its_line(data, line):
    with pytest.raises(SettingsError) as error:
        validated(GuardSettings, data, where="d.yaml")
    assert str(error.value) == line


def test_a_range_on_an_unknown_feature_is_refused_at_load():
    settings = GuardSettings(ranges={"pole_angel": FeatureRange(low=0.0)})
    with pytest.raises(
        SafetyError, match=r"guard\.ranges: there is no feature 'pole_angel'.*Did you mean pole_angle"
    ):
        Guard.compile(settings, CART)


@pytest.mark.parametrize(
    ("reference", "what"),
    [(None, "the bundle has no reference"), (reference_with([0.0], [1.0]), "the reference has 1 features")],
)
def test_a_training_range_needs_a_reference_that_fits(reference, what):
    with pytest.raises(SafetyError) as error:
        Guard.compile(GuardSettings(training_range=TrainingRange(margin=0.1)), CART, reference)
    assert (
        str(error.value)
        == f"guard.training_range: {what}; expected a bundle with a reference of its 4 features"
    )
