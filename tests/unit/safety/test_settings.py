import textwrap
from dataclasses import replace

import numpy as np
import pytest
import yaml

from steersman.bundle.joint import JointDistance
from steersman.bundle.validation import SettingsError, validated
from steersman.safety import settings as settings_module
from steersman.safety.confidence import Confidence
from steersman.safety.fallback import FallbackChain
from steersman.safety.guard import Guard
from steersman.safety.settings import SafetySettings
from unit.safety.strategies import CART, reference_with


def examples():
    """The YAML blocks of the module's docstring."""
    blocks = str(settings_module.__doc__).split("```")[1::2]
    return [yaml.safe_load(textwrap.dedent(block.removeprefix("yaml"))) for block in blocks]


def test_the_documented_example_loads_and_fits_the_cart():
    safety = validated(SafetySettings, examples()[0]["safety"], where="example")
    limits = np.array([10.0])
    joint = JointDistance(np.zeros(4), np.eye(4), np.array([0.99]), limits, limits)
    reference = replace(reference_with([-2.0] * 4, [2.0] * 4), joint=joint)
    guard = Guard.compile(safety.guard, CART, reference)
    assert guard.check({}, np.array([[0.0, 0, 0, 0], [0, 0, 0.5, 0]])).passed.tolist() == [True, False]
    assert Confidence.compile(safety.guard.confidence, CART).outputs == {"distribution"}
    chain = FallbackChain.compile(safety.fallback, CART)
    assert chain.names == ("lean", "constant", "preference")
    assert chain.answer(2, features=np.array([[0.0, 0, 0.3, 0], [0, 0, -0.3, 0]])).actions.tolist() == [1, 0]


def test_the_documented_rules_with_default_load():
    safety = validated(SafetySettings, {"fallback": examples()[1]}, where="example")
    chain = FallbackChain.compile(safety.fallback, CART)
    assert chain.answer(2, features=np.array([[0.0, 0, 1, 0], [0.0] * 4])).actions.tolist() == [1, 0]


def test_the_defaults_guard_against_non_finite_and_answer_nothing():
    safety = SafetySettings()
    assert Guard.compile(safety.guard, CART).check({}, np.full((1, 4), 1e30)).clean
    assert not FallbackChain.compile(safety.fallback, CART).answer(1).answered.any()


def test_settings_survive_json():
    safety = validated(SafetySettings, examples()[0]["safety"], where="example")
    assert SafetySettings.model_validate_json(safety.model_dump_json()) == safety


SECTIONS = sorted(field.alias or name for name, field in SafetySettings.model_fields.items())


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            {"gaurd": {}},
            f"d.yaml: gaurd: unknown field; expected one of {', '.join(SECTIONS)}. Did you mean guard?",
        ),
        (
            {"fallback": [{"constant": 1}, {"prefernce": [1]}]},
            (
                "d.yaml: fallback[1].prefernce: unknown field; expected one of constant, entry_point, "
                "last_good_version, name, preference, rules, timeout_ms. Did you mean preference?"
            ),
        ),
        (
            {"guard": {"bounds": "on", "ranges_action": "ignore"}},
            (
                "d.yaml: guard.bounds: got 'on'; expected 'off', 'fallback' or 'reject'. "
                "Also wrong: guard.ranges_action: got 'ignore', expected 'fallback' or 'reject'."
            ),
        ),
        ("guard", "d.yaml: got 'guard'; expected a mapping"),
    ],
)
def test_mistakes_name_the_field_and_what_was_meant(data, line):
    with pytest.raises(SettingsError) as error:
        validated(SafetySettings, data, where="d.yaml")
    assert str(error.value) == line


def test_settings_cannot_be_changed_after_load():
    with pytest.raises(ValueError, match="frozen"):
        SafetySettings().guard.bounds = "reject"
