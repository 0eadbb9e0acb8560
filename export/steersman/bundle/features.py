"""Features: the elements of all observation tensors, one column each, in the contract's order.

Guard, rules, references and counters all look at observations this way; the columns' names are those of
`steersman.bundle.specs.feature_names`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract, ObservationSpec

Array = NDArray[Any]

MAX_NAMED_FEATURES = 64
"""Above this many observation elements (images) features are not treated one by one: no rules, no bins."""


def feature_count(contract: Contract) -> int:
    """Number of observation elements, all tensors together."""
    return sum(spec.size for spec in contract.observations)


def has_named_features(contract: Contract) -> bool:
    """Whether there are few enough observation elements to treat each as a named feature."""
    return 0 < feature_count(contract) <= MAX_NAMED_FEATURES


def feature_matrix(observations: Mapping[str, Array], contract: Contract) -> NDArray[np.float64]:
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


def named_feature_matrix(observations: Mapping[str, Array], contract: Contract) -> NDArray[np.float64]:
    """As `feature_matrix`, but [N, 0] where there are too many to name."""
    if has_named_features(contract):
        return feature_matrix(observations, contract)
    return np.empty((len(observations[contract.observations[0].input_name]), 0))


def flat(tensor: Array, spec: ObservationSpec) -> Array:
    """A batch of observations [N, *shape] as [N, size]."""
    return tensor.reshape(len(tensor), spec.size)
