"""Actions as people write them in YAML, turned into actions as the environment takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from steersman.bundle.specs import (
    ActionSpec,
    BoxAction,
    DiscreteAction,
    MultiBinaryAction,
    MultiDiscreteAction,
    bounds,
)
from steersman.bundle.validation import close_match
from steersman.safety.columns import Array
from steersman.safety.errors import SafetyError
from steersman.safety.masks import permits

ActionValue = JsonValue
"""A number, the name of a choice, or a list of numbers (nested for a Box of more than one dimension)."""


def parse_action(value: ActionValue, action: ActionSpec, where: str) -> Array:
    """One action of the spec's shape and dtype.

    Args:
        value: For Discrete the action itself (counted from `start`) or its name; for MultiDiscrete and
            MultiBinary a list; for Box nested lists of its shape, or one number when it has one element.
        action: The action space.
        where: The setting that the value came from, for the error.

    Raises:
        SafetyError: It is not an action of this space.
    """
    if isinstance(value, str):
        return _named(value, action, where)
    if isinstance(action, BoxAction):
        return _continuous(value, action, where)
    return _discrete(value, action, where)


def _named(name: str, action: ActionSpec, where: str) -> Array:
    if not isinstance(action, DiscreteAction) or not action.names:
        raise _no_action(name, action, where)
    if name not in action.names:
        raise _no_action(name, action, where, hint=close_match(name, action.names))
    return np.asarray(action.start + action.names.index(name), action.dtype)


def _discrete(value: ActionValue, action: ActionSpec, where: str) -> Array:
    numbers = _numbers(value)
    kinds = "iub" if isinstance(action, MultiBinaryAction) else "iu"
    if isinstance(value, bool):
        raise _no_action(
            value, action, where, hint="YAML reads on, off, yes and no as true and false: quote names."
        )
    if numbers is None or numbers.dtype.kind not in kinds or numbers.shape != action.shape:
        raise _no_action(value, action, where)
    if not permits(None, numbers[None], action)[0]:
        raise _no_action(value, action, where)
    return numbers.astype(action.dtype)


def _continuous(value: ActionValue, action: BoxAction, where: str) -> Array:
    numbers = _numbers(value)
    if numbers is not None and numbers.ndim == 0 and action.size == 1:
        numbers = numbers.reshape(action.shape)
    if numbers is None or numbers.dtype.kind not in "iuf" or numbers.shape != action.shape:
        raise _no_action(value, action, where)
    with np.errstate(over="ignore"):  # what the dtype cannot hold becomes infinite, and is refused below
        chosen = numbers.astype(action.dtype)
    low, high = (limit.astype(action.dtype) for limit in bounds(action))
    if not ((chosen >= low) & (chosen <= high)).all():
        raise _no_action(value, action, where)
    return chosen


def _numbers(value: ActionValue) -> NDArray[Any] | None:
    """The value as an array; None for what is not numbers of one kind in rectangular lists."""
    try:
        return np.asarray(value)
    except (ValueError, OverflowError):
        return None


def _no_action(value: ActionValue, action: ActionSpec, where: str, hint: str | None = None) -> SafetyError:
    return SafetyError(f"{value!r} is not an action", where=where, expected=describe(action), hint=hint)


def describe(action: ActionSpec) -> str:
    """What an action of this space looks like, for errors."""
    if isinstance(action, DiscreteAction):
        numbers = f"an integer from {action.start} to {action.start + action.n - 1}"
        return f"{numbers}, or one of {', '.join(action.names)}" if action.names else numbers
    if isinstance(action, MultiDiscreteAction):
        return f"a list of {len(action.nvec)} integers, each from 0 and below {list(action.nvec)}"
    if isinstance(action, MultiBinaryAction):
        return f"a list of {action.n} switches, each 0 or 1"
    low, high = (limit.tolist() for limit in bounds(action))
    return f"numbers of shape {list(action.shape)} from {low} to {high}"
