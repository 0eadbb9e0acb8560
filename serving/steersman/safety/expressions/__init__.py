"""Expressions over named features: a subset of CEL, checked at load and compiled to numpy columns.

CEL is the Common Expression Language (https://github.com/google/cel-spec). What is accepted:

- numbers: `3`, `0.5`, `.5`, `1e-3`; `true` and `false`; comments from `//` to the end of the line
- features by name, where the name is a CEL identifier, or as `obs["any name"]`
- between numbers: `-x`, `+ - * / %`, `< <= > >=`, `== !=`
- between conditions: `!a`, `a && b`, `a || b`, `== !=`
- `x in [1.0, 2.0]`: whether one of the items equals x
- `condition ? x : y` and parentheses; precedences are CEL's
- `abs(x)`, `min(x, y, ...)`, `max(x, y, ...)`

What CEL itself accepts of this has CEL's meaning. Every feature is a `double`, whatever its tensor holds, so
arithmetic is IEEE 754 in float64: nothing raises, `1.0 / 0.0` is infinite, comparisons with NaN are false
(`!=` true). Literals without point or exponent are `int`, and arithmetic between them (`7 / 2` is 3) is done
and checked at load. A chain of comparisons (`0.0 < x < 1.0`) is an error here as in CEL.

What goes beyond CEL, so that people need not write `2.0` for 2:

- an `int` in arithmetic with a `double` becomes one: `2 * pole_angle` (comparing the two is CEL)
- `%` between doubles is C's `fmod` (the sign is the dividend's, as with CEL's `int`)
- `abs`, `min` and `max` are functions of Steersman; NaN in any argument gives NaN

What is left out of CEL: other types and their functions, lists elsewhere than after `in`, macros, hexadecimal
and unsigned literals, order among booleans, and arithmetic on an `int` that a condition chooses.
"""

from steersman.safety.expressions.compiler import Condition, compile_condition
from steersman.safety.expressions.source import MAX_DEPTH, MAX_LENGTH

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "Condition", "compile_condition"]
