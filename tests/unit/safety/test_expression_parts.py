"""Expressions taken apart: as text, into branches, into thresholds, and how far they are from changing."""

import numpy as np
import pytest
from hypothesis import given, settings

from steersman.safety.errors import ExpressionError
from steersman.safety.expressions import compile_condition
from steersman.safety.expressions.margins import margin
from steersman.safety.expressions.parser import parse
from steersman.safety.expressions.parts import branches, thresholds
from steersman.safety.expressions.printing import text_of
from steersman.safety.expressions.source import Source
from unit.safety.test_cel_conformance import NAMES, conditions, rows

ODD = ("x", "in", 'a "b"\\', "ünder")


def compiled(text, names=NAMES):
    return compile_condition(text, names, where="when")


@settings(deadline=None, max_examples=200)
@given(conditions, rows)
def test_printed_conditions_mean_the_same(text, features):
    printed = text_of(parse(Source(text, "")))
    table = np.asarray(features, np.float64)
    assert compiled(printed)(table).tolist() == compiled(text)(table).tolist()
    assert text_of(parse(Source(printed, ""))) == printed


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("x-(y-x)>1.0", "x - (y - x) > 1.0"),
        ("(x-y)-x>1.0", "x - y - x > 1.0"),
        ("-(x+y)<-x", "-(x + y) < -x"),
        ("!(x>1.0)&&!!true", "!(x > 1.0) && !(!true)"),
        ("(x>1.0||y>1.0)&&x<3.0", "(x > 1.0 || y > 1.0) && x < 3.0"),
        ("(x>1.0?y>1.0:y<1.0)||x>4.0", "(x > 1.0 ? y > 1.0 : y < 1.0) || x > 4.0"),
        ("max(x,y+1.0)in[1.0,2.0]", "max(x, y + 1.0) in [1.0, 2.0]"),
    ],
)
def test_parentheses_are_those_that_are_needed(text, printed):
    assert text_of(parse(Source(text, ""))) == printed


def test_names_that_are_no_identifiers_are_quoted():
    text = 'x > 0.0 && obs["in"] > 0.0 && obs["a \\"b\\"\\\\"] > 0.0 && obs["ünder"] > 0.0'
    assert text_of(parse(Source(text, ""))) == text
    assert compiled(text, ODD).reads == (0, 1, 2, 3)


def test_a_condition_has_the_parts_that_it_is_written_with():
    condition = compiled("x > 1.0 && y > 1.0 && !(x > 2.0 || y in [1.0]) && (x > y ? true : y > 3.0)")
    assert [part.text for part in branches(condition, NAMES)] == [
        "x > 1.0",
        "y > 1.0",
        "!(x > 2.0 || y in [1.0])",
        "x > 2.0 || y in [1.0]",
        "x > 2.0",
        "y in [1.0]",
        "x > y ? true : y > 3.0",
        "x > y",
        "true",
        "y > 3.0",
    ]
    assert branches(compiled("x > 1.0"), NAMES) == ()
    assert [part.text for part in branches(compiled("(x > 1.0 ? x : y) > 2.0"), NAMES)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x > 1.0 && 2.0 >= x || y in [3, 4.0, -5.0]", {0: {1.0, 2.0}, 1: {3.0, 4.0, -5.0}}),
        ("x > 1.0 + 2.0", {0: {3.0}}),
        ("true && !(x != 1.0)", {0: {1.0}}),
        ("x > 1.0 ? y > 2.0 : y > 3.0", {0: {1.0}, 1: {2.0, 3.0}}),
        ("x > y", None),
        ("x + 1.0 > 2.0", None),
        ("x > 1.0 && abs(y) > 2.0", None),
        ("(x > 1.0) == (y > 1.0)", None),
        ("x in [y]", None),
        ("true", {}),
    ],
)
def test_thresholds_are_known_where_features_are_only_compared(text, found):
    assert thresholds(compiled(text), NAMES) == found


@settings(deadline=None, max_examples=200)
@given(conditions, rows)
def test_the_sign_of_a_margin_says_whether_the_condition_holds(text, features):
    table = np.asarray(features, np.float64)
    found, holds = margin(compiled(text), NAMES, table), compiled(text)(table)
    assert holds[found > 0].all()
    assert not holds[found < 0].any()


@pytest.mark.parametrize(
    ("text", "distance"),
    [
        ("x > 1.0", 2.0),
        ("x < 1.0", -2.0),
        ("x > 1.0 && y > 1.0", 0.0),
        ("x > 1.0 || y > 7.0", 2.0),
        ("!(x > 1.0)", -2.0),
        ("x == 2.0", -1.0),
        ("x != 2.0", 1.0),
        ("x in [2.5, 9.0]", -0.5),
        ("x > 1.0 ? y > 0.5 : y > 9.0", 0.5),
        ("(x > 1.0) == (y > 0.5)", 0.5),
        ("true", np.inf),
        ("x in []", -np.inf),
    ],
)
def test_margins(text, distance):
    assert margin(compiled(text), NAMES, np.array([[3.0, 1.0, 0.0]])).tolist() == [distance]


@pytest.mark.parametrize(
    "text", ["x in [1.0", "x in 1.0", "x in [1.0,,2.0]", "x in [true]", "in [1.0]", "x in [obs]"]
)
def test_lists_that_are_none(text):
    with pytest.raises(ExpressionError, match="when, line 1"):
        compiled(text)
