"""Which columns are watched: observation features and action dimensions, with their names.

Export, the recorder and the collector all ask here, so that a column means the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.features import has_named_features
from steersman.bundle.reference import CELLS, Reference
from steersman.bundle.specs import BoxAction, Contract, DiscreteAction, feature_names
from steersman.monitoring.bins import CELL_LABELS
from steersman.monitoring.errors import MonitoringError

Array = NDArray[Any]

Dimension = tuple[str, tuple[str, ...]]
"""An action dimension: its name, and the name of each of its cells."""


def watched_features(contract: Contract) -> tuple[str, ...]:
    """Name of each feature that is binned, each name once; empty when there are too many to name."""
    return distinct(feature_names(contract)) if has_named_features(contract) else ()


def action_dimensions(contract: Contract) -> tuple[Dimension, ...]:
    """Every action dimension: choices for discrete kinds, bins of the reference's form for Box."""
    action = contract.action
    if isinstance(action, DiscreteAction):
        numbers = tuple(str(action.start + k) for k in range(action.n))
        return (("action", distinct(action.names) if len(action.names) == action.n else numbers),)
    widths = (len(CELL_LABELS),) * action.size if isinstance(action, BoxAction) else action.mask_segments
    names = action.names if len(action.names) == len(widths) else [f"action_{d}" for d in range(len(widths))]
    if isinstance(action, BoxAction):
        return tuple((name, CELL_LABELS) for name in distinct(names))
    cells = [tuple(str(k) for k in range(width)) for width in widths]
    return tuple(zip(distinct(names), cells, strict=True))


def choices(actions: Array, contract: Contract) -> NDArray[np.int64]:
    """Discrete actions as cells.

    Args:
        actions: [N, *shape], as the environment takes them.
        contract: Whose action is of a discrete kind.

    Returns:
        [N, D] int64, counted from 0 in each dimension.
    """
    spec = contract.action
    cells = np.asarray(actions, np.int64).reshape(len(actions), len(spec.mask_segments))
    return cells - spec.start if isinstance(spec, DiscreteAction) and spec.start else cells


def check_fits(reference: Reference, contract: Contract) -> None:
    """Refuses a reference that was measured with other columns than the contract has.

    Raises:
        MonitoringError: The number of features, dimensions or cells differs.
    """
    dimensions = action_dimensions(contract)
    widest = max((len(cells) for _, cells in dimensions), default=0)
    expected = ((len(watched_features(contract)), CELLS), (len(dimensions), widest))
    found = (reference.feature_counts.shape, reference.action_counts.shape)
    if found != expected:
        raise MonitoringError(
            f"the reference has cells {found}",
            expected=f"{expected}, features and action dimensions",
            hint="Export the policy again.",
        )


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names; where any repeats, each with its position added: two columns must never share a series."""
    if len(set(names)) == len(names):
        return tuple(names)
    return tuple(f"{name}#{position}" for position, name in enumerate(names))
