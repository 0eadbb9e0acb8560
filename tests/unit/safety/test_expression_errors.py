import pytest

from steersman.safety.errors import ExpressionError
from steersman.safety.expressions import MAX_DEPTH, MAX_LENGTH, compile_condition

NAMES = ("cart_position", "pole_angle")


def error_of(text):
    with pytest.raises(ExpressionError) as error:
        compile_condition(text, NAMES, where="when")
    assert error.value.exit_code == 2
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "pole_angel > 0.0",
            (
                "line 1, column 1: there is no feature 'pole_angel'; expected one of cart_position, "
                "pole_angle. Did you mean pole_angle?"
            ),
        ),
        (
            "pole_angle > 0.0 &&\n  cartposition > 0.0",
            (
                "line 2, column 3: there is no feature 'cartposition'; expected one of cart_position, "
                "pole_angle. "
                "Did you mean cart_position?"
            ),
        ),
        (
            'obs["pole angle"] > 0.0',
            (
                "line 1, column 1: there is no feature 'pole angle'; expected one of cart_position, "
                "pole_angle. Did you mean pole_angle?"
            ),
        ),
        (
            "pole_angle",
            (
                "line 1, column 1: this is a number; expected a condition (true or false). Compare it, "
                "as in x > 0.0."
            ),
        ),
        (
            "0.0 < pole_angle < 1.0",
            "line 1, column 18: < cannot be applied to bool and double; expected numbers",
        ),
        (
            "pole_angle && true",
            "line 1, column 12: && cannot be applied to double and bool; expected conditions (true or false)",
        ),
        (
            "!pole_angle",
            "line 1, column 1: ! cannot be applied to double; expected conditions (true or false)",
        ),
        ("-true", "line 1, column 1: unary - cannot be applied to bool; expected numbers"),
        ("true + 1.0 > 0.0", "line 1, column 6: + cannot be applied to bool and double; expected numbers"),
        (
            "pole_angle == true",
            "line 1, column 12: == cannot be applied to double and bool; expected numbers",
        ),
        ("true < false", "line 1, column 6: < cannot be applied to bool and bool; expected numbers"),
        (
            "(true ? 1.0 : false) > 0.0",
            (
                "line 1, column 7: the branches of ?: are double and bool; expected two conditions or "
                "two numbers"
            ),
        ),
        (
            "(1.0 ? true : false)",
            "line 1, column 6: ?: cannot be applied to double; expected conditions (true or false)",
        ),
        ("abs(true) > 1.0", "line 1, column 1: abs() cannot be applied to bool; expected numbers"),
        ("abs(1.0, 2.0) > 1.0", "line 1, column 1: abs() has 2 arguments; expected 1"),
        ("min(1.0) > 1.0", "line 1, column 1: min() has 1 arguments; expected at least 2"),
        ("max() > 1.0", "line 1, column 1: max() has 0 arguments; expected at least 2"),
        ("sqrt(1.0) > 1.0", "line 1, column 1: there is no function 'sqrt'; expected one of abs, min, max"),
        (
            "1 / 0 > 0",
            "line 1, column 3: division of an integer by zero. Doubles, such as 2.0, have infinities.",
        ),
        (
            "1 % 0 > 0",
            "line 1, column 3: division of an integer by zero. Doubles, such as 2.0, have infinities.",
        ),
        (
            "9223372036854775807 + 1 > 0",
            "line 1, column 21: the integer overflows 64 bits. Write doubles, such as 2.0.",
        ),
        ("9223372036854775808 > 0", "line 1, column 1: this number is too large"),
        ("1e400 > 0.0", "line 1, column 1: this number is too large"),
        (
            "pole_angle > 9007199254740993",
            (
                "line 1, column 12: the integer 9007199254740993 is not exact as a double; expected at "
                "most 2^53. "
                "Write it as a double."
            ),
        ),
        (
            "(pole_angle > 0.0 ? 1 : 2) / 2 == 0",
            (
                "line 1, column 28: / between integers that a condition chooses is not supported. "
                "Write them as doubles, such as 2.0."
            ),
        ),
        ("", "line 1, column 1: the expression ends too early; expected a number, a feature or '('"),
        (
            "pole_angle >",
            "line 1, column 13: the expression ends too early; expected a number, a feature or '('",
        ),
        ("(pole_angle > 0.0", "line 1, column 18: the expression ends too early; expected ')'"),
        ("pole_angle > 0.0)", "line 1, column 17: unexpected ')'; expected an operator or the end"),
        (
            "pole_angle > 0.0 and true",
            "line 1, column 18: unexpected 'and'; expected an operator or the end. Write && for and.",
        ),
        (
            "not true",
            "line 1, column 5: unexpected 'true'; expected an operator or the end. Write ! for not.",
        ),
        ("pole_angle = 0.0", "line 1, column 12: unexpected '='. Write == to compare."),
        ("true & false", "line 1, column 6: unexpected '&'. Write && for and."),
        ("true | false", "line 1, column 6: unexpected '|'. Write || for or."),
        (
            "0x10 > 1",
            "line 1, column 1: this number cannot be read; expected a decimal number such as 16 or 1.5e3",
        ),
        (
            "1u > 0",
            "line 1, column 1: this number cannot be read; expected a decimal number such as 16 or 1.5e3",
        ),
        ("1. > 0.0", "line 1, column 2: unexpected '.'"),
        ('obs["pole_angle] > 0.0', "line 1, column 5: this text has no closing quote"),
        ('obs["a\\n"] > 0.0', "line 1, column 7: unknown escape '\\\\n'; expected \\\\, \\\" or \\'"),
        ("obs[0] > 0.0", 'line 1, column 5: unexpected index; expected a name in quotes, as obs["name"]'),
        (
            "pole_angle[0] > 0.0",
            (
                "line 1, column 11: unexpected '['; expected an operator or the end. Only obs[\"name\"] "
                "has brackets."
            ),
        ),
        ('"text" == "text"', "line 1, column 1: unexpected 'text'; expected a number, a feature or '('"),
        (
            "in > 0.0",
            (
                "line 1, column 1: 'in' is a reserved word of CEL. A feature of that name is written "
                'obs["in"].'
            ),
        ),
        ("!-1.0", "line 1, column 2: unexpected '-'; expected a number, a feature or '('"),
        ("true ? true", "line 1, column 12: the expression ends too early; expected ':'"),
    ],
)
def test_each_mistake_has_its_line(text, line):
    assert error_of(text) == f"when, {line}"


def test_the_length_is_bounded():
    line = f"when, line 1, column 2001: the expression has 2001 characters; expected at most {MAX_LENGTH}"
    assert error_of("x" * 2001) == line


@pytest.mark.parametrize(
    "text",
    [
        "(" * (MAX_DEPTH + 1) + "true" + ")" * (MAX_DEPTH + 1),
        "!" * (MAX_DEPTH + 1) + "true",
        "true" + " && true" * (MAX_DEPTH + 1),
        "true ? true : " * (MAX_DEPTH + 1) + "true",
        "(" * 900 + "true",
        "1 + " * 400 + "1 > 0",
    ],
)
def test_the_depth_is_bounded(text):
    assert "the expression is nested too deeply; expected at most 64 levels" in error_of(text)


def test_what_is_just_deep_enough_runs():
    text = "(" * (MAX_DEPTH - 1) + "true" + ")" * (MAX_DEPTH - 1)
    assert compile_condition(text, NAMES, where="when").constant is True
    assert compile_condition("true" + " && true" * MAX_DEPTH, NAMES, where="when").constant is True
