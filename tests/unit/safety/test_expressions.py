import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from steersman.safety.errors import ExpressionError
from steersman.safety.expressions import compile_condition
from unit.safety.strategies import quick

NAMES = ("x", "y", "z")


def value_of(text, x=0.0, y=0.0, z=0.0):
    return bool(compile_condition(text, NAMES, where="when")(np.array([[x, y, z]]))[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x + 2.0 * y == 8.0", True),
        ("(x + 2.0) * y == 12.0", True),
        ("x - y - z == -6.0", True),
        ("x / y / z == 2.0 / 15.0", True),
        ("-x + y == 1.0", True),
        ("--x == x", True),
        ("x > 1.0 && y > 5.0 || z > 4.0", True),
        ("x > 1.0 && (y > 5.0 || z > 4.0)", True),
        ("x > 3.0 || y > 5.0 && z > 4.0", False),
        ("!(x > 1.0)", False),
        ("!!(x > 1.0)", True),
        ("x > 1.0 ? y > 5.0 : z > 4.0", False),
        ("x > 9.0 ? false : y > 9.0 ? false : true", True),
        ("(x > 1.0 ? y : z) == 3.0", True),
        ("(x > 1.0) == (y > 1.0)", True),
        ("x > 1.0 != true == false", True),
        ("abs(-x) == 2.0 && abs(x - y) == 1.0", True),
        ("min(x, y, z) == 2.0 && max(x, y, z) == 5.0", True),
        ("obs[\"x\"] == 2.0 && obs['y'] == 3.0", True),
        ("x>1.0&&y>1.0", True),
        ("x\n > 1.0 // not too low\n && y > 1.0", True),
        (".5 < x && 5e-1 < x && 2E0 == x && 1.5e+1 > x", True),
    ],
)
def test_operators_and_their_precedence(text, expected):
    assert value_of(text, 2.0, 3.0, 5.0) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 / 2 == 3", True),
        ("-7 / 2 == -3", True),
        ("-7 % 3 == -1", True),
        ("7.0 / 2.0 == 3.5", True),
        ("9007199254740993 > 9007199254740992", True),
        ("x + 7 / 2 == 3.0", True),
        ("2 * x == 0", True),
        ("min(1, 2) == 1 && max(1, 2.5) == 2.5 && abs(-3) == 3", True),
        ("(x > 0.0 ? 1 : 2) == 2", True),
        ("(x > 0.0 ? 1 : 2.5) / 2 == 1.25", True),
        ("(x > 0.0 ? 1 : 2) * 0.5 == 1.0", True),
        ("max(x > 0.0 ? 1 : 2, 3) == 3", True),
        ("-9223372036854775807 - 1 < 0", True),
    ],
)
def test_integers_are_integers_among_themselves_and_doubles_beside_doubles(text, expected):
    assert value_of(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.0 / x > 1e308", True),
        ("-1.0 / x < -1e308", True),
        ("x / x == x / x", False),
        ("x / x != x / x", True),
        ("x / x < 1.0 || x / x >= 1.0", False),
        ("1e308 * 10.0 == 1.0 / x", True),
        ("min(x / x, 1.0) < 2.0", False),
        ("-7.5 % 2.0 == -1.5", True),
        ("x == -0.0", True),
    ],
)
def test_arithmetic_of_doubles_is_ieee_754(text, expected):
    assert value_of(text) is expected


@quick
@example(2.5, 0.0)
@given(st.floats(), st.floats())
def test_the_remainder_of_doubles_is_that_of_c(x, y):
    expected = math.fmod(x, y) if math.isfinite(x) and y != 0 and not math.isnan(y) else math.nan
    assert value_of("x % y == z", x, y, expected) is not math.isnan(expected)


def test_a_condition_says_what_it_reads():
    condition = compile_condition('z > 1.0 && obs["x"] > 0.0 || z < 0.0', NAMES, where="when")
    assert condition.reads == (0, 2)
    assert condition.constant is None
    finite = np.array([[True, False, True], [True, True, False], [False, True, True]])
    assert condition.evaluable(finite).tolist() == [True, False, False]


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1 > 2", False), ("1.0 / 0.0 > 1.0", True)])
def test_a_condition_without_features_is_known_at_load(text, value):
    condition = compile_condition(text, NAMES, where="when")
    assert condition.constant is value
    assert condition(np.zeros((3, 3))).tolist() == [value] * 3
    assert condition.evaluable(np.zeros((3, 3), bool)).all()


def test_names_that_are_no_identifiers_are_indexed():
    names = ("pole angle", "in", 'a"b\\c', "obs")
    features = np.array([[1.0, 2.0, 3.0, 4.0]])
    text = 'obs["pole angle"] == 1.0 && obs["in"] == 2.0 && obs["a\\"b\\\\c"] == 3.0 && obs == 4.0'
    assert compile_condition(text, names, where="when")(features)[0]


def test_a_condition_is_a_column_for_any_number_of_rows():
    condition = compile_condition("x > 0.0 && true", NAMES, where="when")
    for rows in (0, 1, 5):
        found = condition(np.ones((rows, 3)))
        assert found.dtype == np.bool_
        assert found.shape == (rows,)


def refused_at(text):
    try:
        compile_condition(text, NAMES, where="when")
    except ExpressionError as error:
        return error.where
    return None


@quick
@given(st.text(max_size=40) | st.text('xyz0189.()!&|<>=+-*/%?:, "[]obmaxin', max_size=60))
def test_any_text_is_compiled_or_refused_with_line_and_column(text):
    where = refused_at(text)
    assert where is None or where.startswith("when, line ")
