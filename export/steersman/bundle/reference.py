"""The reference: what observations and actions looked like when the policy ran as intended.

`reference.npz` holds, for each serving mode that has one (`greedy`, `sampled`), the arrays named here.
Observations are counted in bins per feature. With quantile edges e_0 <= ... <= e_K (K = 10):

    bin 0: x < e_0 (underflow)    bin k: e_{k-1} <= x < e_k    bin K+1: x >= e_K (overflow)    bin K+2: NaN

Actions are counted per dimension: per choice for discrete kinds, in bins of the same form for Box.
Steps of one episode are correlated, so thresholds come from resampling whole episodes, never single steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.arrays import pack, unpack
from steersman.bundle.errors import BundleCorruptError
from steersman.bundle.joint import JointDistance, joint_arrays, joint_from
from steersman.bundle.specs import Mode

BINS = 10
"""Quantile bins per feature, underflow, overflow and NaN not counted."""

CELLS = BINS + 3
"""Bins per feature, all counted."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference of one serving mode. F features, D action dimensions, A cells at most per dimension.

    Attributes:
        feature_edges: [F, BINS + 1] float64, non-decreasing along the second axis.
        feature_counts: [F, CELLS] int64, steps counted per cell.
        feature_design_effect: [F] float64, mean Rao-Scott design effect of the cell shares (1 if steps were
            independent), already times (1 + a^2), second order (Satterthwaite).
        feature_degrees_of_freedom: [F] float64, Satterthwaite degrees of freedom.
        feature_thresholds: [W, R, F] float64, PSI per feature such that a window of `windows[w]` undrifted
            episodes exceeds any of them with probability `alarm_rates[r]`: by episode-block bootstrap of both
            reference and window, corrected over features (Westfall-Young minimum p).
        action_edges: [D, BINS + 1] float64 for Box; [0, BINS + 1] for discrete kinds.
        action_counts: [D, A] int64; dimension d uses its first cells, the rest stay 0.
        action_thresholds: [W, R, D] float64, as `feature_thresholds`.
        windows: [W] int64, window sizes in episodes.
        alarm_rates: [R] float64.
        episodes: Scalar int64, number of episodes.
        joint: Distance of all features together; None in bundles made before there was one, and where
            features are too many to name or episodes too few.
    """

    feature_edges: NDArray[np.float64]
    feature_counts: NDArray[np.int64]
    feature_design_effect: NDArray[np.float64]
    feature_degrees_of_freedom: NDArray[np.float64]
    feature_thresholds: NDArray[np.float64]
    action_edges: NDArray[np.float64]
    action_counts: NDArray[np.int64]
    action_thresholds: NDArray[np.float64]
    windows: NDArray[np.int64]
    alarm_rates: NDArray[np.float64]
    episodes: NDArray[np.int64]
    joint: JointDistance | None = None

    def feature_shares(self) -> NDArray[np.float64]:
        """[F, CELLS] shares with Jeffreys smoothing (0.5 per cell), so that none is zero."""
        return smoothed_shares(self.feature_counts)


def smoothed_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shares along the last axis, 0.5 added to each cell (Jeffreys prior of a multinomial)."""
    padded = counts + 0.5
    return np.asarray(padded / padded.sum(axis=-1, keepdims=True))


_ARRAYS = tuple(field.name for field in fields(Reference) if field.name != "joint")


def pack_references(references: Mapping[str, Reference]) -> bytes:
    """The bytes of `reference.npz`."""
    arrays: dict[str, NDArray[Any]] = {}
    for mode, reference in references.items():
        own = {name: getattr(reference, name) for name in _ARRAYS} | joint_arrays(reference.joint)
        arrays |= {f"{mode}/{name}": array for name, array in own.items()}
    return pack(arrays)


def unpack_references(data: bytes, where: str) -> dict[str, Reference]:
    """References by mode.

    Raises:
        BundleCorruptError: The file is not one of arrays, one is missing, or is not as `Reference` has it.
    """
    arrays = unpack(data, where)
    modes = {name.split("/", 1)[0] for name in arrays}
    if not modes or not modes <= set(get_args(Mode)):
        raise BundleCorruptError(
            f"references of modes {sorted(modes)}", where=where, expected=" or ".join(get_args(Mode))
        )
    return {mode: _reference(arrays, mode, where) for mode in sorted(modes)}


def _reference(arrays: Mapping[str, NDArray[Any]], mode: str, where: str) -> Reference:
    start = f"{mode}/"
    own = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
    if missing := [name for name in _ARRAYS if name not in own]:
        raise BundleCorruptError(f"array {start + missing[0]!r} is missing", where=where)
    joint = joint_from(own, _rows(own["feature_counts"]), where)
    reference = Reference(**{name: own[name] for name in _ARRAYS}, joint=joint)
    _check(reference, mode, where)
    return reference


def _check(reference: Reference, mode: str, where: str) -> None:
    for name, (dtype, shape) in _forms(reference).items():
        array: NDArray[Any] = getattr(reference, name)
        if array.dtype != dtype or array.shape != shape:
            raise BundleCorruptError(
                f"array '{mode}/{name}' is {array.dtype} {list(array.shape)}",
                where=where,
                expected=f"{np.dtype(dtype)} {list(shape)}",
            )
    counts = (reference.feature_counts, reference.action_counts)
    edges = (reference.feature_edges, reference.action_edges)
    if (
        any((array < 0).any() for array in counts)
        or not all((array[:, 1:] >= array[:, :-1]).all() for array in edges)
        or int(reference.episodes) < 1
    ):
        raise BundleCorruptError(
            f"the reference of mode {mode!r} counts nothing or in no order",
            where=where,
            expected="at least one episode, counts from 0, and edges that do not decrease",
        )


def _forms(reference: Reference) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
    """Type and shape that each array should have, given the rows that there are; at least one of each.

    Only features may be none at all, where there are too many to name.
    """
    features = _rows(reference.feature_counts)
    actions = max(1, _rows(reference.action_counts))
    windows, rates = max(1, _rows(reference.windows)), max(1, _rows(reference.alarm_rates))
    continuous = _rows(reference.action_edges) > 0
    cells = CELLS if continuous else max(1, *reference.action_counts.shape[1:2])
    return {
        "feature_edges": (np.float64, (features, BINS + 1)),
        "feature_counts": (np.int64, (features, CELLS)),
        "feature_design_effect": (np.float64, (features,)),
        "feature_degrees_of_freedom": (np.float64, (features,)),
        "feature_thresholds": (np.float64, (windows, rates, features)),
        "action_edges": (np.float64, (actions if continuous else 0, BINS + 1)),
        "action_counts": (np.int64, (actions, cells)),
        "action_thresholds": (np.float64, (windows, rates, actions)),
        "windows": (np.int64, (windows,)),
        "alarm_rates": (np.float64, (rates,)),
        "episodes": (np.int64, ()),
    }


def _rows(array: NDArray[Any]) -> int:
    return array.shape[0] if array.ndim else 0
