import textwrap

import pytest

from steersman.bundle.errors import UsageError
from steersman.safety.errors import ExpressionError, SafetyError
from steersman.safety.fallback import FallbackChain
from steersman.serving.rollout.deployment import parse_deployment
from steersman.serving.rollout.yaml_lines import Lines, pointing
from unit.safety.strategies import CART

TEXT = """\
policy: cartpole
safety:
  guard: {bounds: reject}
  fallback:
    - name: lean
      rules:
        - when: pole_angle > 0.0
          then: 1
        - when: |
            cart_position > 0.0
              && pole_angle < 2.0
          then: 0
    - rules:
        default: 0
        rules:
          - {when: 'pole_angle > 1.0', then: 1}
          - when: >
              pole_angle
              > 2.0
            then: 1
          - {when: "pole_angle \\x3e 1.0", then: 1}
    - constant: 1
"""
LINES = Lines(TEXT, "safety")


@pytest.mark.parametrize(
    ("where", "pointed"),
    [
        ("guard.bounds", "d.yaml:3: safety.guard.bounds"),
        ("safety.guard.bounds", "d.yaml:3: safety.guard.bounds"),
        ("policy", "d.yaml:1: policy"),
        ("fallback[0].rules[0].then", "d.yaml:8: safety.fallback[0].rules[0].then"),
        ("fallback[2].constant", "d.yaml:22: safety.fallback[2].constant"),
        # what is not there is looked for in what is around it
        ("fallback[2].name", "d.yaml:22: safety.fallback[2].name"),
        ("fallback[0].rules[0].when, line 1, column 14", "d.yaml:7:30: safety.fallback[0].rules[0].when"),
        # quoted, and in a list that stands within a mapping
        ("fallback[1].rules[0].when, line 1, column 1", "d.yaml:16:21: safety.fallback[1].rules[0].when"),
        # a block is as it is written; what is folded or escaped is not
        ("fallback[0].rules[1].when, line 2, column 4", "d.yaml:11:16: safety.fallback[0].rules[1].when"),
        (
            "fallback[1].rules[1].when, line 1, column 9",
            "d.yaml:17: safety.fallback[1].rules[1].when, line 1, column 9",
        ),
        (
            "fallback[1].rules[2].when, line 1, column 12",
            "d.yaml:21: safety.fallback[1].rules[2].when, line 1, column 12",
        ),
    ],
)
def test_fields_are_pointed_at(where, pointed):
    assert LINES.pointed(where, "d.yaml") == pointed


@pytest.mark.parametrize("where", ["", "nothing", "a file with spaces.yaml, or so"])
def test_what_is_not_there_has_no_line(where):
    assert LINES.pointed(where, "d.yaml") is None


@pytest.mark.parametrize("text", ["", "- [", "a: &x 1\nb: *x", "[1, 2]", "3", "? {a: 1}\n: 2"])
def test_any_text_may_be_asked(text):
    assert Lines(text, "safety").pointed("fallback[0].rules", "d.yaml") is None
    assert Lines(text).line_of(("nothing", 3)) is None


def test_a_rule_that_does_not_fit_the_policy_is_pointed_at():
    text = TEXT.replace("pole_angle < 2.0", "pole_angel < 2.0")
    deployment = parse_deployment(text, where="d.yaml")
    with pytest.raises(ExpressionError) as error, pointing(text, "d.yaml"):
        FallbackChain.compile(deployment.safety.fallback, CART)
    assert str(error.value).startswith(
        "d.yaml:11:18: safety.fallback[0].rules[1].when: there is no feature 'pole_angel'; expected one of"
    )
    assert str(error.value).endswith("Did you mean pole_angle or pole_angular_velocity?")


def test_other_errors_pass_as_they_are():
    with pytest.raises(SafetyError, match=r"^the whole of it$"), pointing(TEXT, "d.yaml"):
        raise SafetyError("the whole of it")
    with pytest.raises(UsageError, match=r"^x: wrong$"), pointing(TEXT, "d.yaml"):
        raise UsageError("wrong", where="x")


def test_every_field_that_is_wrong_has_its_line():
    text = textwrap.dedent(
        """\
        policy: cartpole
        lanes:
          canary: {version: 2, share: 3}
        safety:
          fallback:
            - constnat: 1
          guard:
            bounds: of
        """
    )
    with pytest.raises(UsageError) as error:
        parse_deployment(text, where="d.yaml")
    line = str(error.value)
    assert line.startswith("d.yaml:6: safety.fallback[0].constnat: unknown field; expected one of")
    assert "line 3: lanes.canary.share: got 3, expected" in line
    assert "line 8: safety.guard.bounds: got 'of', expected" in line
