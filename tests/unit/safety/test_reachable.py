"""Rules that never decide are refused when they are loaded; others never are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.bundle.specs import Contract, DiscreteAction, ObservationSpec
from steersman.bundle.validation import validated
from steersman.safety.errors import SafetyError
from steersman.safety.rules import RulePolicy, RulesSettings
from unit.safety.strategies import CART

NEVER = "this rule never decides: wherever it is true, "


def policy_of(*conditions, default=None, contract=CART):
    rules = [{"when": when, "then": 0} for when in conditions]
    data = {"rules": rules} | ({} if default is None else {"default": default})
    return RulePolicy.compile(validated(RulesSettings, data, where="d"), contract)


def refusal(*conditions, **options):
    with pytest.raises(SafetyError) as error:
        policy_of(*conditions, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("conditions", "line"),
    [
        (("pole_angle > 0.0", "pole_angle > 1.0"), f"rules[1].when: {NEVER}rules[0] is, too"),
        (("pole_angle >= 1.0", "pole_angle == 1"), f"rules[1].when: {NEVER}rules[0] is, too"),
        (
            ("pole_angle > 0.0", "cart_position > 0.0", "pole_angle in [1.0, 2.0]"),
            f"rules[2].when: {NEVER}rules[0] is, too",
        ),
        (
            ("pole_angle > 0.0", "pole_angle <= 0.0", "pole_angle < 5.0"),
            f"rules[2].when: {NEVER}rules[0] and rules[1] are, too",
        ),
        (
            ("pole_angle > 0.0", "pole_angle > 0.5 && cart_position > 0.0"),
            f"rules[1].when: {NEVER}rules[0] is, too",
        ),
        (("pole_angle > 1.0 && pole_angle < 0.0",), "rules[0].when: this condition is never true"),
        (("pole_angle > 1.0 && !(pole_angle >= 1.0)",), "rules[0].when: this condition is never true"),
        (("pole_angle in []",), "rules[0].when: this condition is never true"),
    ],
)
def test_a_rule_that_never_decides_is_refused(conditions, line):
    assert refusal(*conditions).startswith(line)


@pytest.mark.parametrize(
    "conditions",
    [
        ("pole_angle > 1.0", "pole_angle > 0.0"),
        ("pole_angle > 1.0", "pole_angle >= 1.0"),
        ("pole_angle > 0.0 && cart_position > 0.0", "pole_angle > 1.0"),
        ("pole_angle + cart_position > 0.0", "pole_angle + cart_position > 1.0"),  # not looked into
        ("pole_angle > 10.0",),  # outside of the declared bounds: that is what falls back
        ("pole_angle < 0.0", "pole_angle >= 0.0"),
    ],
)
def test_a_rule_that_may_decide_is_not(conditions):
    policy_of(*conditions)


def test_a_default_that_is_never_needed_does_no_harm():
    policy_of("pole_angle < 0.0", "pole_angle >= 0.0", default=1)


def test_features_that_are_whole_numbers_have_nothing_between_them():
    spec = ObservationSpec(dtype="int32", shape=(1,), low=(0.0,), high=(9.0,), feature_names=("gear",))
    whole = Contract(
        observations=(spec,), action=DiscreteAction(n=2), distribution="deterministic", outputs=("action",)
    )
    assert "is never true" in refusal("gear > 1.0 && gear < 2.0", contract=whole)
    assert "never decides" in refusal("gear >= 2.0", "gear > 1.0", contract=whole)
    policy_of("gear > 1.0 && gear < 3.0", contract=whole)


def test_so_many_cells_that_nobody_waits_for_them():
    many = [f"pole_angle > {i}.0 && cart_position > {i}.0 && cart_velocity > {i}.0" for i in range(40, 0, -1)]
    policy_of(*many)


numbers = st.integers(-2, 2).map(lambda i: f"{i}.0")
atoms = st.tuples(
    st.sampled_from(["cart_position", "pole_angle"]),
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    numbers,
).map(" ".join)
conditions = st.recursive(
    atoms,
    lambda inner: (
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})")
        | inner.map(lambda text: f"!({text})")
    ),
    max_leaves=3,
)
POINTS = np.arange(-3, 3.25, 0.25)


@settings(deadline=None, max_examples=150)
@given(st.lists(conditions, min_size=1, max_size=3))
def test_refused_is_exactly_what_never_decides(texts):
    features = np.zeros((len(POINTS) ** 2, 4))
    features[:, 0], features[:, 2] = np.repeat(POINTS, len(POINTS)), np.tile(POINTS, len(POINTS))
    firsts = np.stack([compiled(text)(features) for text in texts])
    decides = [bool((firsts[i] & ~firsts[:i].any(axis=0)).any()) for i in range(len(texts))]
    try:
        policy_of(*texts)
    except SafetyError:
        assert not all(decides)
    else:
        # An earlier rule that reads what this one does not is left out, so some go unnoticed.
        assert all(decides) or not all("cart" in text and "pole" in text for text in texts)


def compiled(text):
    from steersman.bundle.specs import feature_names
    from steersman.safety.expressions import compile_condition

    return compile_condition(text, feature_names(CART), where="when")
