"""Features: the elements of all observation tensors, one column each, in the contract's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract, ObservationSpec
from steersman.bundle.validation import close_match
from steersman.safety.errors import SafetyError

Array = NDArray[Any]
Features = NDArray[np.float64]
"""[N, F] float64, columns named by `steersman.bundle.specs.feature_names`."""
Rows = NDArray[np.bool_]
"""[N] bool, one entry per row."""
Observations = Mapping[str, Array]
"""Graph input name -> [N, *shape]."""

MAX_NAMED_FEATURES = 64
"""Above this many observation elements (images) no feature matrix is built, and rules cannot be used."""


def feature_count(contract: Contract) -> int:
    """Number of observation elements, all tensors together."""
    return sum(spec.size for spec in contract.observations)


def is_monitorable(contract: Contract) -> bool:
    """Whether there are few enough observation elements to treat each as a named feature."""
    return 0 < feature_count(contract) <= MAX_NAMED_FEATURES


def feature_matrix(observations: Observations, contract: Contract) -> Features:
    """All observation tensors flattened and concatenated in the contract's order.

    Args:
        observations: [N, *shape] under each spec's input name.
        contract: Says which tensors there are; all must be present and of their declared shapes.

    Returns:
        [N, F] float64; may share memory with the observation, so it is not to be written to. Integers
        beyond 2^53 are rounded.
    """
    tensors = [flat(observations[spec.input_name], spec) for spec in contract.observations]
    if len(tensors) == 1:
        return tensors[0].astype(np.float64, copy=False)
    return np.concatenate(tensors, axis=1, dtype=np.float64)


def flat(tensor: Array, spec: ObservationSpec) -> Array:
    """A batch of observations [N, *shape] as [N, size]."""
    return tensor.reshape(len(tensor), spec.size)


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
