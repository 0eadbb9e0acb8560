"""The joint distance: features that are each as usual, but not together.

`steersman.bundle.joint` defines it, and `steersman.monitoring.joint` says how its limits are calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steersman.bundle.joint import JointDistance
from steersman.bundle.reference import Reference
from steersman.bundle.specs import Contract, feature_names
from steersman.safety.columns import Rows, all_true
from steersman.safety.errors import SafetyError
from steersman.safety.guard_settings import GuardReason, TrainingDistance
from steersman.safety.row_checks import Given, need_named_features, some

_WHERE = "guard.distance"
_CLEARLY = 1 - 1e-9
"""Rounding depends on how many rows there are, by far less than this. Only rows that are closer to the limit
are measured one by one, so that no row's verdict depends on the others."""


@dataclass(frozen=True, slots=True)
class DistanceCheck:
    """Refuses rows beyond a distance. Use `compile`.

    Attributes:
        joint: What is measured.
        limit: Largest distance allowed.
        told: The quantile as people wrote it, for explanations.
        names: Of the features.
        rejects: Whether a row beyond fails with an error instead of falling back.
        reason: What such a row is said to be.
    """

    joint: JointDistance
    limit: float
    told: str
    names: tuple[str, ...]
    rejects: bool
    reason: GuardReason = GuardReason.OBSERVATION_FAR_FROM_TRAINING

    @classmethod
    def compile(
        cls, settings: TrainingDistance, contract: Contract, reference: Reference | None
    ) -> DistanceCheck:
        """The check that these settings describe for this policy.

        Raises:
            SafetyError: The bundle has no such distance, or its episodes are too few for the quantile.
        """
        need_named_features(contract, _WHERE)
        names = feature_names(contract)
        joint = _joint(reference, len(names))
        limit = joint.limit(settings.quantile, settings.of)
        if limit is None:
            raise _too_far_out(settings, joint)
        told = f"quantile {settings.quantile:g} of {settings.of} in training"
        return cls(joint, limit, told, names, settings.action == "reject")

    def failing(self, given: Given) -> Rows | None:
        """Rows beyond the limit, or with a number that is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            within = self.joint.squared(given.features) <= self.limit * self.limit * _CLEARLY
            if all_true(within):
                return None
            return some(~(self.joint.squared_alone(given.features) <= self.limit * self.limit))

    def explain(self, given: Given) -> str:
        """Says how far the row is, and by which feature most."""
        if self.failing(given) is None:
            return ""
        with np.errstate(over="ignore", invalid="ignore"):
            squared = np.nan_to_num(self.joint.squared_alone(given.features), nan=np.inf, posinf=np.inf)
            distance = float(np.sqrt(squared[0]))
            shares = np.nan_to_num(self.joint.shares(given.features[0]))
        most = self.names[int(np.argmax(shares))]
        return (
            f"the features together are {distance:.4g} standard deviations from training, most of it by "
            f"{most!r}; expected at most {self.limit:.4g} ({self.told})"
        )


def _joint(reference: Reference | None, features: int) -> JointDistance:
    expected = f"a bundle with a joint distance of its {features} features"
    if reference is None:
        raise SafetyError("the bundle has no reference", where=_WHERE, expected=expected)
    if reference.joint is None:
        raise SafetyError(
            "the bundle's reference has no joint distance",
            where=_WHERE,
            expected=expected,
            hint="Export the policy again, with an environment or recorded episodes, or leave this out.",
        )
    if len(reference.joint.center) != features:
        raise SafetyError(
            f"the joint distance is of {len(reference.joint.center)} features",
            where=_WHERE,
            expected=expected,
        )
    return reference.joint


def _too_far_out(settings: TrainingDistance, joint: JointDistance) -> SafetyError:
    most = joint.most(settings.of)
    return SafetyError(
        f"the reference's episodes are too few for quantile {settings.quantile:g} of {settings.of}",
        where=f"{_WHERE}.quantile",
        expected="none" if most is None else f"at most {most:g}",
        hint="Export the policy again with more --reference-episodes.",
    )
