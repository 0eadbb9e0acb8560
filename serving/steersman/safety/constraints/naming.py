"""What people call the elements, dimensions and choices of an action, and where these are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import (
    ActionSpec,
    BoxAction,
    Contract,
    DiscreteAction,
    MultiBinaryAction,
    feature_names,
)
from steersman.bundle.validation import close_match
from steersman.safety.columns import feature_index
from steersman.safety.constraints.settings import EVERY, Choice, Choices, Interval
from steersman.safety.errors import SafetyError

_INDEXED = re.compile(r"action\[(\d+)\]")
_OBSERVED = re.compile(r"""obs\[(["'])(.*)\1\]""")


def element_names(action: ActionSpec) -> tuple[str, ...]:
    """What the parts of an action are called: elements of a Box row-major, else dimensions."""
    count = action.size if isinstance(action, BoxAction) else len(action.mask_segments)
    named = not isinstance(action, DiscreteAction) and len(action.names) == count
    return action.names if named else tuple(f"action[{i}]" for i in range(count))


def element_indices(name: str, action: ActionSpec, where: str) -> list[int]:
    """Which elements or dimensions a name means.

    Raises:
        SafetyError: None has this name.
    """
    names = element_names(action)
    if name == EVERY:
        return list(range(len(names)))
    if name in names:
        return [i for i, known in enumerate(names) if known == name]
    indexed = _INDEXED.fullmatch(name)
    if indexed and int(indexed[1]) < len(names):
        return [int(indexed[1])]
    expected = f"one of {', '.join(names[:12])}"
    raise SafetyError(
        f"the action has no element {name!r}", where=where, expected=expected, hint=close_match(name, names)
    )


def intervals(
    settings: Mapping[str, Interval], action: BoxAction, where: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Limits on each element, [D] and [D], infinite where there is none.

    A limit is the number of the action's type that is nearest to the one written; an integer within it.
    """
    low, high = np.full(action.size, -np.inf), np.full(action.size, np.inf)
    for name, interval in settings.items():
        for i in element_indices(name, action, f"{where}.{name}"):
            if interval.low is not None:
                low[i] = max(low[i], _as_typed(interval.low, action, np.ceil))
            if interval.high is not None:
                high[i] = min(high[i], _as_typed(interval.high, action, np.floor))
    return low, high


def _as_typed(value: float, action: BoxAction, inward: np.ufunc) -> float:
    if not np.issubdtype(np.dtype(action.dtype), np.floating):
        return float(inward(value))
    with np.errstate(over="ignore"):
        return float(np.dtype(action.dtype).type(value))


def numbers(
    settings: float | Mapping[str, float], default: float, action: BoxAction, where: str
) -> list[float]:
    """One number for each element, from one for all or some by name."""
    found = [default] * action.size
    given = settings if isinstance(settings, Mapping) else {EVERY: settings}
    for name, value in given.items():
        for i in element_indices(name, action, f"{where}.{name}"):
            found[i] = value
    return found


def choice_columns(settings: Choices, action: ActionSpec, where: str) -> NDArray[np.bool_]:
    """Which mask columns these choices are: [W] bool.

    Raises:
        SafetyError: There is no such dimension or choice, or none is listed.
    """
    columns = np.zeros(sum(action.mask_segments), np.bool_)
    for dimension, choices, at in _by_dimension(settings, action, where):
        for i, choice in enumerate(choices):
            columns[choice_column(choice, dimension, action, f"{at}[{i}]")] = True
    if not columns.any():
        raise SafetyError("no choice is listed", where=where, expected="at least one")
    return columns


def _by_dimension(
    settings: Choices, action: ActionSpec, where: str
) -> list[tuple[int, Sequence[Choice], str]]:
    if isinstance(action, DiscreteAction):
        if isinstance(settings, Mapping):
            raise SafetyError("the action has no dimensions", where=where, expected="a list of choices")
        return [(0, settings, where)]
    if not isinstance(settings, Mapping):
        example = f"a mapping such as {{{element_names(action)[0]}: [0]}}"
        raise SafetyError("the choices are of no dimension", where=where, expected=example)
    return [
        (i, choices, f"{where}.{name}")
        for name, choices in settings.items()
        for i in element_indices(name, action, f"{where}.{name}")
    ]


def choice_column(choice: Choice, dimension: int, action: ActionSpec, where: str) -> int:
    """The mask column of a choice in a dimension.

    Raises:
        SafetyError: There is no such choice.
    """
    first, width = sum(action.mask_segments[:dimension]), action.mask_segments[dimension]
    start = action.start if isinstance(action, DiscreteAction) else 0
    names = action.names if isinstance(action, DiscreteAction) else ()
    if isinstance(choice, str):
        if choice in names[:width]:
            return names.index(choice)
        expected = f"one of {', '.join(names)}" if names else _numbers(start, width)
        raise SafetyError(
            f"there is no choice {choice!r}", where=where, expected=expected, hint=close_match(choice, names)
        )
    if isinstance(choice, bool) and not isinstance(action, MultiBinaryAction):
        hint = "YAML reads on, off, yes and no as true and false: quote names."
        raise SafetyError(
            f"there is no choice {choice}", where=where, expected=_numbers(start, width), hint=hint
        )
    if not 0 <= int(choice) - start < width:
        raise SafetyError(f"there is no choice {choice}", where=where, expected=_numbers(start, width))
    return first + int(choice) - start


def _numbers(start: int, width: int) -> str:
    return f"a number from {start} to {start + width - 1}"


def choice_name(column: int, action: ActionSpec) -> str:
    """What people call the choice of a mask column."""
    dimension, first = 0, 0
    while column >= first + action.mask_segments[dimension]:
        first += action.mask_segments[dimension]
        dimension += 1
    choice = column - first
    if not isinstance(action, DiscreteAction):
        return f"{element_names(action)[dimension]} {choice}"
    return action.names[choice] if choice < len(action.names) else str(choice + action.start)


def term(name: str, contract: Contract, where: str) -> tuple[int | None, int | None]:
    """The element or the feature that a term of a sum means; the other is None.

    Raises:
        SafetyError: It is neither, or both.
    """
    elements, features = element_names(contract.action), feature_names(contract)
    observed = _OBSERVED.fullmatch(name)
    if observed:
        return None, feature_index(observed[2], features, where)
    if name in elements and name in features:
        hint = f'Write action[{elements.index(name)}] or obs["{name}"].'
        raise SafetyError(f"{name!r} is an element of the action and a feature", where=where, hint=hint)
    if name in features:
        return None, feature_index(name, features, where)
    indexed = _INDEXED.fullmatch(name)
    if name in elements or (indexed and int(indexed[1]) < len(elements)):
        return element_indices(name, contract.action, where)[0], None
    known = (*elements, *features)
    expected = f"one of {', '.join(known[:12])}"
    raise SafetyError(
        f"there is no element or feature {name!r}",
        where=where,
        expected=expected,
        hint=close_match(name, known),
    )
