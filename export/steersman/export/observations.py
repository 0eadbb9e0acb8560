"""Observations of any space as columns: one array per tensor, by the name of the graph input that takes it.

SB3 holds the same thing as one array, or as a dictionary by key where the space is a Dict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Observations = Mapping[str, Array]
"""[N, *shape] by graph input name: `obs` for a plain space, `obs/<key>` for each key of a Dict space."""

PLAIN = "obs"
_KEYED = "obs/"


def input_name(key: str) -> str:
    """Name of the graph input for a key of a Dict space; the empty key is a plain space."""
    return f"{_KEYED}{key}" if key else PLAIN


def as_sb3(observations: Observations) -> Any:
    """The array, or the dictionary by key, that SB3 takes."""
    if PLAIN in observations:
        return observations[PLAIN]
    return {name.removeprefix(_KEYED): array for name, array in observations.items()}


def from_sb3(value: Any) -> dict[str, Array]:
    """Columns from the array or the dictionary that SB3 gives."""
    if isinstance(value, Mapping):
        return {input_name(key): np.asarray(array) for key, array in value.items()}
    return {PLAIN: np.asarray(value)}


def count(columns: Mapping[str, Array]) -> int:
    """Number of rows."""
    return len(next(iter(columns.values())))


def take(columns: Mapping[str, Array], index: Any) -> dict[str, Array]:
    """Some rows: by a slice, positions or a truth value each."""
    return {name: array[index] for name, array in columns.items()}


def join(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """All rows of several, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
