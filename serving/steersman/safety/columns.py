"""Features: the elements of all observation tensors, one column each, in the contract's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.validation import close_match
from steersman.safety.errors import SafetyError

Array = NDArray[Any]
Features = NDArray[np.float64]
"""[N, F] float64, columns named by `steersman.bundle.specs.feature_names`."""
Rows = NDArray[np.bool_]
"""[N] bool, one entry per row."""
Observations = Mapping[str, Array]
"""Graph input name -> [N, *shape]."""


def all_true(values: NDArray[np.bool_]) -> bool:
    """Whether every element is true; `count_nonzero` is three times faster than `all` on small arrays."""
    return int(np.count_nonzero(values)) == values.size


def all_columns(values: NDArray[np.bool_]) -> Rows:
    """Rows of [N, C] that are true throughout: [N]."""
    rows: Rows = np.logical_and.reduce(values, axis=1)
    return rows


def any_column(values: NDArray[np.bool_]) -> Rows:
    """Rows of [N, C] that are true somewhere: [N]."""
    rows: Rows = np.logical_or.reduce(values, axis=1)
    return rows


def feature_index(name: str, names: Sequence[str], where: str, error: type[SafetyError] = SafetyError) -> int:
    """The column of the feature with this name.

    Raises:
        SafetyError: There is none, or more than one; of class `error`.
    """
    found = names.count(name)
    if found == 1:
        return names.index(name)
    if found:
        raise error(
            f"{found} features are named {name!r}",
            where=where,
            expected="a name that is unique in the contract",
        )
    raise error(
        f"there is no feature {name!r}", where=where, expected=_listed(names), hint=close_match(name, names)
    )


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"one of {', '.join(names[:most])}{more}"
