"""Observation and action spaces: from what a pickle says to gymnasium's, and whether two are the same."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from steersman.export.errors import DamagedFileError, UnsupportedError
from steersman.export.reading.plain import PlainDType, as_array
from steersman.export.reading.unpickle import Record

AnySpace = spaces.Space[Any]


def as_space(value: object, where: str) -> AnySpace:
    """The gymnasium space that a record of a gym or gymnasium space describes.

    Raises:
        UnsupportedError: It is of a kind that export does not cover.
        DamagedFileError: It is no space, or its bounds make none.
    """
    if not isinstance(value, Record) or ".spaces." not in value.name:
        raise DamagedFileError("this is not a space", where=where)
    kind = value.name.rpartition(".")[2]
    build = {"Box": _box, "Discrete": _discrete}.get(kind)
    if build is None:
        raise UnsupportedError(f"{kind} spaces are not covered yet", where=where, expected="Box or Discrete")
    try:
        return build(value.state)
    except (ArithmeticError, AssertionError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"not a {kind} space: {error}", where=where) from error


def _box(state: dict[str, Any]) -> AnySpace:
    low, high = as_array(state["low"]), as_array(state["high"])
    dtype = state["dtype"].dtype if isinstance(state.get("dtype"), PlainDType) else low.dtype
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium remarks on bounds that lose precision; they are as saved
        return spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype.type)


def _discrete(state: dict[str, Any]) -> AnySpace:
    return spaces.Discrete(int(state["n"]), start=int(state.get("start", 0)))


def same_space(one: AnySpace, other: AnySpace) -> bool:
    """Whether two spaces hold the same values.

    Versions of gym and gymnasium wrote "unbounded" as infinity or as the largest float; both count as it.
    """
    if isinstance(one, spaces.Box) and isinstance(other, spaces.Box):
        return one.shape == other.shape and one.dtype == other.dtype and _same_bounds(one, other)
    return type(one) is type(other) and bool(one == other)


def _same_bounds(one: spaces.Box, other: spaces.Box) -> bool:
    pairs = ((one.low, other.low), (one.high, other.high))
    return all(np.allclose(_unbounded_as_infinite(a), _unbounded_as_infinite(b)) for a, b in pairs)


def _unbounded_as_infinite(bound: NDArray[Any]) -> NDArray[np.float64]:
    values = bound.astype(np.float64)
    return np.where(np.abs(values) >= float(np.finfo(np.float32).max), np.copysign(math.inf, values), values)
