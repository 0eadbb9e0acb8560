"""The joint distance: how far the features of a step are, all together, from what was seen in training.

Each feature alone may be usual and their combination still one that never occurred: a pole that leans left
while the cart reacts as if it leaned right. The distance is that of Mahalanobis (P. C. Mahalanobis, On the
generalized distance in statistics, 1936) under the reference's mean and shrunk covariance, in standard
deviations. `monitoring.joint` measures it at export; the guard holds observations against its limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.errors import BundleCorruptError

Floats = NDArray[np.float64]

LimitUnit = Literal["steps", "episodes"]
"""What a quantile counts: steps within the limit, or episodes whose every step is."""

PREFIX = "joint_"
"""Of the arrays' names in `reference.npz`. Bundles made before there were any have none of them."""


@dataclass(frozen=True, slots=True)
class JointDistance:
    """Centre, scale and limits. F features, K of which vary, Q quantiles.

    Attributes:
        center: [F] float64, mean of each feature.
        whitening: [F, K] float64; differences from the centre times this have unit covariance, so that their
            length is the distance. Rows of features that never vary are zero: they do not count.
        quantiles: [Q] float64, increasing, within (0, 1).
        step_limits: [Q] float64, distance that a share of at most `1 - quantile` of the steps of new episodes
            exceeds; infinite where the episodes were too few to say.
        episode_limits: [Q] float64, distance that in a share of at most `1 - quantile` of new episodes is
            exceeded at all; infinite likewise.
    """

    center: Floats
    whitening: Floats
    quantiles: Floats
    step_limits: Floats
    episode_limits: Floats

    def squared(self, features: Floats) -> Floats:
        """Squared distances [N] of rows [N, F]; NaN or infinite where a feature is. One matrix product.

        The last bits of a row may depend on how many rows there are; see `squared_alone`.
        """
        whitened = (features - self.center) @ self.whitening
        return np.asarray(np.einsum("nk,nk->n", whitened, whitened))

    def squared_alone(self, features: Floats) -> Floats:
        """As `squared`, but bit for bit the same whatever the other rows: a product for each row."""
        whitened = np.matmul((features - self.center)[:, None, :], self.whitening)
        return np.asarray(np.matmul(whitened, whitened.transpose(0, 2, 1))[:, 0, 0])

    def limit(self, quantile: float, unit: LimitUnit) -> float | None:
        """The limit that holds for this quantile: that of the first one that is no smaller.

        Returns:
            None where there is none, because it is beyond what the reference's episodes can tell.
        """
        limits = self.step_limits if unit == "steps" else self.episode_limits
        told = np.flatnonzero((self.quantiles >= quantile) & np.isfinite(limits))
        return float(limits[told[0]]) if told.size else None

    def most(self, unit: LimitUnit) -> float | None:
        """The largest quantile that has a limit; None where none has."""
        limits = self.step_limits if unit == "steps" else self.episode_limits
        told = self.quantiles[np.isfinite(limits)]
        return float(told[-1]) if told.size else None

    def shares(self, row: Floats) -> Floats:
        """What each feature contributes to the squared distance of one row [F]: [F], adding up to it.

        Contributions may be negative, where a feature is as the others would have it.
        """
        difference = row - self.center
        return np.asarray(difference * (self.whitening @ (difference @ self.whitening)))


def joint_arrays(joint: JointDistance | None) -> dict[str, NDArray[Any]]:
    """What `reference.npz` holds of it; nothing where there is none."""
    return {} if joint is None else {PREFIX + f.name: getattr(joint, f.name) for f in fields(JointDistance)}


def joint_from(arrays: Mapping[str, NDArray[Any]], features: int, where: str) -> JointDistance | None:
    """The joint distance among one mode's arrays of `reference.npz`, by name; None where there is none.

    Args:
        arrays: All of the mode's arrays.
        features: F.
        where: The file, for errors.

    Raises:
        BundleCorruptError: Some of its arrays are missing or not as `JointDistance` has them.
    """
    names = [PREFIX + field.name for field in fields(JointDistance)]
    if not any(name in arrays for name in names):
        return None
    if missing := [name for name in names if name not in arrays]:
        raise BundleCorruptError(f"array {missing[0]!r} is missing", where=where)
    joint = JointDistance(**{name.removeprefix(PREFIX): arrays[name] for name in names})
    if not _is_sound(joint, features):
        raise BundleCorruptError(
            "the joint distance is malformed",
            where=where,
            expected=f"float64 arrays for {features} features, increasing quantiles, limits that do not fall",
        )
    return joint


def _is_sound(joint: JointDistance, features: int) -> bool:
    arrays = [getattr(joint, field.name) for field in fields(JointDistance)]
    varying = joint.whitening.shape[1] if joint.whitening.ndim == 2 else 0
    count = len(joint.quantiles) if joint.quantiles.ndim else 0
    shapes = [(features,), (features, varying), (count,), (count,), (count,)]
    if any(a.dtype != np.float64 or a.shape != shape for a, shape in zip(arrays, shapes, strict=True)):
        return False
    rising = (joint.quantiles, joint.step_limits, joint.episode_limits)
    return (
        varying > 0
        and count > 0
        and bool(np.isfinite(joint.center).all() and np.isfinite(joint.whitening).all())
        and bool((joint.quantiles > 0).all() and (joint.quantiles < 1).all())
        and all(bool((a[1:] >= a[:-1]).all() and not np.isnan(a).any()) for a in rising)
    )
