"""docs/safety.md: its examples load and fit a policy, and every reason is explained."""

import re
from pathlib import Path

import pytest
import yaml

from steersman.bundle.specs import BoxAction
from steersman.bundle.validation import validated
from steersman.safety.checking import check_safety
from steersman.safety.entry_points import EntryPoints
from steersman.safety.expressions import MAX_DEPTH, MAX_LENGTH
from steersman.safety.members import Aids
from steersman.safety.rules import MOST_RULES
from steersman.safety.settings import SafetySettings
from steersman.safety.trials.cases import CasesSettings
from steersman.safety.trials.run import run_cases
from steersman.safety.trials.sketch import PolicySketch
from steersman.safety.trials.subject import Subject
from steersman.serving.decision import Reason
from unit.safety.strategies import CART, contract_for, reference_with

DOCS = Path(__file__).parents[3] / "docs" / "safety.md"
CAR = contract_for(
    BoxAction(shape=(2,), low=(-1.0, 0.0), high=(1.0, 1.0), names=("steer", "throttle")), ("speed", "curve")
)
NAME = "my_package.safety:drive"


def examples():
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return [yaml.safe_load(block) for block in blocks]


CHOICES, BOX, CHAIN, CASES, POLICY = examples()


def test_the_section_for_choices_fits_the_cart():
    settings = validated(SafetySettings, CHOICES["safety"], where="docs")
    compiled = check_safety(settings, CART, reference_with([-2.0] * 4, [2.0] * 4))
    assert compiled.fallback.names == ("lean", "preference")
    assert compiled.remembers


def test_the_section_for_continuous_actions_fits_a_car():
    settings = validated(SafetySettings, BOX["safety"], where="docs")
    compiled = check_safety(settings, CAR)
    assert compiled.constraints.names == ("torque", "slew", "zone", "power")
    assert compiled.safe_action.tolist() == [0.0, 0.0]


def test_the_chain_fits_the_cart():
    settings = validated(SafetySettings, CHAIN, where="docs")
    compiled = check_safety(settings, CART, aids=Aids(entry_points=EntryPoints([NAME], imports=False)))
    kinds = ("lean", "last_good_version", "entry_point", "constant", "preference")
    assert compiled.fallback.names == kinds


def test_the_cases_come_to_what_they_say():
    contract = validated(PolicySketch, POLICY, where="docs").contract("docs")
    section = {key: CHOICES["safety"][key] for key in ("constraints", "fallback", "unanswered")}
    subject = Subject.of_safety(validated(SafetySettings, section, where="docs"), contract)
    trial = run_cases(subject, validated(CasesSettings, CASES, where="docs"))
    assert [result.wrong for result in trial.results] == [(), ()]


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason])
def test_every_reason_says_what_to_do(reason):
    assert f"`{reason.value}`" in DOCS.read_text()


def test_limits_are_as_the_document_says():
    assert (MAX_LENGTH, MAX_DEPTH, MOST_RULES) == (2000, 64, 256)
    text = DOCS.read_text()
    assert "2,000 characters" in text
    assert "64 levels" in text
    assert "256 rules" in text
