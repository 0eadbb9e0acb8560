"""Observation and action spaces: from what a pickle says to gymnasium's, and whether two are the same."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from steersman.bundle.errors import brief
from steersman.export.errors import DamagedFileError, UnsupportedError
from steersman.export.reading.plain import as_array, as_dtype
from steersman.export.reading.record import Record

AnySpace = spaces.Space[Any]
State = dict[str, Any]

MOST_ELEMENTS: Final = 2**24
"""Of one observation or action. A stack of four colour images of 1280x720 takes two thirds of it."""
MOST_PARTS: Final = 1000
"""Of a Dict space."""


def as_space(value: object, where: str) -> AnySpace:
    """The gymnasium space that a record of a gym or gymnasium space describes.

    Raises:
        UnsupportedError: It is of a kind that SB3 has no policies for.
        DamagedFileError: It is no space, or its bounds make none.
    """
    kind, state = _described(value, where)
    return _dict(state, where) if kind == "Dict" else _tensor(kind, state, where)


def _described(value: object, where: str) -> tuple[str, State]:
    if not isinstance(value, Record) or ".spaces." not in value.name:
        raise DamagedFileError("this is not a space", where=where)
    return value.name.rpartition(".")[2], value.state


def _tensor(kind: str, state: State, where: str) -> AnySpace:
    build = _KINDS.get(kind)
    if build is None:
        raise UnsupportedError(
            f"SB3 has no policies for {kind} spaces", where=where, expected=f"Dict, {', '.join(_KINDS)}"
        )
    try:
        space = build(state)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DamagedFileError(f"not a {kind} space: {brief(error)}", where=where) from error
    _check_size(_size(space), where)
    return space


def _size(space: AnySpace) -> int:
    return math.prod(space.shape or ())


def _check_size(elements: int, where: str) -> None:
    """Before anything of that size is made."""
    if elements > MOST_ELEMENTS:
        raise DamagedFileError(
            "a space of too many elements", where=where, expected=f"at most {MOST_ELEMENTS:,}"
        )


def _box(state: State) -> AnySpace:
    low, high = as_array(state["low"]), as_array(state["high"])
    dtype = as_dtype(state.get("dtype"), low.dtype)
    low, high = low.astype(dtype), _mended(high.astype(dtype))
    if (bad := np.isnan(low) | np.isnan(high)).any():
        raise ValueError(f"{bad.sum()} bounds are not numbers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium remarks on bounds that lose precision; they are as saved
        return spaces.Box(low, high, dtype=dtype.type)


def _mended(high: NDArray[Any]) -> NDArray[Any]:
    """Old gym turned an upper bound of infinity into the lowest number of a signed integer type."""
    if high.dtype.kind != "i":
        return high
    ends = np.iinfo(high.dtype)
    return np.where(high == ends.min, ends.max, high).astype(high.dtype)


def _discrete(state: State) -> AnySpace:
    return spaces.Discrete(int(state["n"]), start=int(state.get("start", 0)))


def _multi_discrete(state: State) -> AnySpace:
    counts = as_array(state["nvec"])
    start = as_array(state["start"]) if state.get("start") is not None else None
    dtype = as_dtype(state.get("dtype"), np.dtype(np.int64))
    return spaces.MultiDiscrete(counts.astype(np.int64), dtype=dtype.type, start=start)


def _multi_binary(state: State) -> AnySpace:
    shape = as_array(state["n"])
    return spaces.MultiBinary(shape.tolist() if shape.ndim else int(shape))


_KINDS: dict[str, Callable[[State], AnySpace]] = {
    "Box": _box,
    "Discrete": _discrete,
    "MultiDiscrete": _multi_discrete,
    "MultiBinary": _multi_binary,
}


def _dict(state: State, where: str) -> AnySpace:
    parts = state.get("spaces")
    if not isinstance(parts, Mapping) or not parts:
        raise DamagedFileError("not a Dict space: it has no parts", where=where)
    if len(parts) > MOST_PARTS:
        raise DamagedFileError(
            f"a Dict of {len(parts):,} parts", where=where, expected=f"at most {MOST_PARTS}"
        )
    found: OrderedDict[str, AnySpace] = OrderedDict()
    elements = 0
    for key, part in parts.items():
        kind, described = _described(part, place := f"{where}[{key!r}]")
        if kind == "Dict":
            raise UnsupportedError("SB3 has no policies for a Dict within a Dict", where=place)
        found[str(key)] = space = _tensor(kind, described, place)
        elements += _size(space)
        _check_size(elements, where)
    return spaces.Dict(found)  # ordered, so that it is not sorted: SB3 joins features in this order
