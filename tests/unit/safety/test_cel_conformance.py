"""What this package accepts of CEL has the meaning that cel-python gives it.

Left to other tests: division by zero, where cel-python always answers +inf instead of IEEE 754's infinities
and NaN; equality of a double and an int, which it does not have yet; and the extensions of our own.
"""

import sys

import celpy
import numpy as np
from celpy.celtypes import BoolType, DoubleType
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.safety.expressions import compile_condition

RECURSION_LIMIT = sys.getrecursionlimit()
ENVIRONMENT = celpy.Environment()
sys.setrecursionlimit(RECURSION_LIMIT)  # which cel-python raises, unasked
NAMES = ("x", "y", "pole_angle")
FUNCTIONS = {
    "abs": lambda value: DoubleType(abs(value)),
    "min": lambda *values: DoubleType(np.minimum.reduce(values)),
    "max": lambda *values: DoubleType(np.maximum.reduce(values)),
}

doubles = st.floats(0, 1e3).map(repr) | st.floats(allow_nan=False, allow_infinity=False, min_value=0).map(
    repr
)
nonzero = st.floats(1e-3, 1e3).map(repr)
integers = st.integers(0, 1000).map(str)
relations = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


def of(pattern, *parts):
    """Texts made by filling a pattern."""
    return st.tuples(*parts).map(lambda filled: pattern.format(*filled))


def more_numbers(inner):
    return (
        of("({0})", inner)
        | of("-({0})", inner)
        | of("{0} {1} ({2})", inner, st.sampled_from("+-*"), inner)
        | of("({0}) / {1}", inner, nonzero)
        | of("abs({0})", inner)
        | of("{0}({1}, {2})", st.sampled_from(["min", "max"]), inner, inner)
    )


numbers = st.recursive(
    st.sampled_from(NAMES) | doubles | of('obs["{0}"]', st.sampled_from(NAMES)), more_numbers
)
whole = st.recursive(
    integers,
    lambda inner: (
        of("({0} {1} {2})", inner, st.sampled_from("+-*"), inner)
        | of("(-{0})", integers)
        | of("({0} {1} {2})", inner, st.sampled_from("/%"), st.integers(1, 50).map(str))
    ),
    max_leaves=4,
)
comparisons = (
    of("{0} {1} {2}", numbers, relations, numbers)
    | of("{0} {1} {2}", whole, relations, whole)
    | of("{0} {1} {2}", numbers, st.sampled_from(["<", "<=", ">", ">="]), integers)
    | of("{0} in [{1}, {2}]", numbers, numbers, doubles)
    | of("{0} in [{1}]", whole, integers)
    | st.sampled_from(["true", "false"])
)
conditions = st.recursive(
    comparisons,
    lambda inner: (
        of("({0})", inner)
        | of("!({0})", inner)
        | of("{0} {1} {2}", inner, st.sampled_from(["&&", "||"]), inner)
        | of("({0}) {1} ({2})", inner, st.sampled_from(["==", "!="]), inner)
        | of("({0}) ? {1} : {2}", inner, comparisons, inner)
        | of("(({0}) ? {1} : {2}) > {3}", inner, numbers, numbers, numbers)
    ),
    max_leaves=6,
)
finite = st.sampled_from([0.0, -0.0, 1.0, -1.0]) | st.floats(-1e3, 1e3) | st.floats(-1e308, 1e308)
rows = st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=4)


def by_cel(text, row):
    program = ENVIRONMENT.program(ENVIRONMENT.compile(text), functions=FUNCTIONS)
    values = {name: DoubleType(value) for name, value in zip(NAMES, row, strict=True)}
    found = program.evaluate({**values, "obs": celpy.json_to_cel(dict(zip(NAMES, row, strict=True)))})
    assert isinstance(found, BoolType | bool)
    return bool(found)


@settings(deadline=None, max_examples=200)
@given(conditions, rows)
def test_conditions_mean_what_cel_says(text, features):
    found = compile_condition(text, NAMES, where="when")(np.asarray(features, np.float64))
    assert found.tolist() == [by_cel(text, row) for row in features]
