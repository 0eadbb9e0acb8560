"""Counts against the reference: has an observation feature or an action dimension shifted?

The measure is the population stability index (PSI, the symmetrised Kullback-Leibler divergence) of the shares
per cell, 0.5 added to each count (Jeffreys). The thresholds come with the reference: a window of so many
undrifted episodes exceeds any feature's threshold with the stated probability, per policy version and
non-overlapping window, after correction over features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.reference import Reference, smoothed_shares
from steersman.monitoring.columns import Dimension
from steersman.monitoring.errors import MonitoringUsageError

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


class DriftVerdict(StrEnum):
    """What a window says about one column. Missing data is neither good nor bad."""

    FINE = "fine"
    """The column looks as it did at export."""
    DRIFT = "drift"
    """It differs by more than chance explains at the stated alarm rate."""
    NOT_ENOUGH_DATA = "not_enough_data"
    """The window, or the reference, has too few episodes to tell."""
    NOT_APPLICABLE = "not_applicable"
    """There is no reference to compare with."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a window says about each of C columns.

    Attributes:
        psi: [C] PSI, in nats.
        thresholds: [C] what it is compared with; infinite where nothing was calibrated.
        verdicts: One for each column.
        window: Size in episodes of the calibrated window that the thresholds are of; 0 for none.
    """

    psi: Floats
    thresholds: Floats
    verdicts: tuple[DriftVerdict, ...]
    window: int

    @property
    def verdict(self) -> DriftVerdict:
        """All columns together: drift if any drifted, and fine only if all can tell."""
        order = (DriftVerdict.DRIFT, DriftVerdict.NOT_ENOUGH_DATA, DriftVerdict.FINE)
        return next((v for v in order if v in self.verdicts), DriftVerdict.NOT_APPLICABLE)


def psi(counts: NDArray[Any], reference_counts: NDArray[Any]) -> Floats:
    """Population stability index along the last axis, in nats: sum of (p - q) ln(p / q).

    Args:
        counts: [..., C] steps per cell.
        reference_counts: [..., C] likewise, of the reference.

    Returns:
        [...] float64; 0 for equal shares.
    """
    p, q = smoothed_shares(counts), smoothed_shares(reference_counts)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def judge(
    reference: Reference | None, feature_counts: Counts, episodes: int, *, alarm_rate: float
) -> Judgement:
    """Judges a window's observations.

    Args:
        reference: What is normal; None when the mode has no reference.
        feature_counts: [F, CELLS] steps per feature and cell in the window.
        episodes: Whole episodes in the window. The thresholds of the largest calibrated window that is not
            larger are taken, which errs on the side of silence.
        alarm_rate: Probability of any alarm without drift; one of those calibrated.

    Returns:
        One verdict for each feature.

    Raises:
        MonitoringUsageError: The alarm rate is not calibrated, or the counts are of other columns.
    """
    if reference is None:
        return _not_applicable(len(feature_counts))
    normal = list(reference.feature_counts)
    return _judge(list(feature_counts), normal, _calibrated(reference, "feature", episodes, alarm_rate))


def judge_actions(
    reference: Reference | None,
    action_counts: Counts,
    episodes: int,
    dimensions: Sequence[Dimension],
    *,
    alarm_rate: float,
) -> Judgement:
    """Judges a window's actions, as `judge` does observations.

    Args:
        reference: What is normal; None when the mode has no reference.
        action_counts: [D, A] steps per dimension and cell in the window.
        episodes: Whole episodes in the window.
        dimensions: The D action dimensions with their cells (`columns.action_dimensions`).
        alarm_rate: Probability of any alarm without drift; one of those calibrated.

    Raises:
        MonitoringUsageError: The alarm rate is not calibrated, or the counts are of other columns.
    """
    if reference is None:
        return _not_applicable(len(action_counts))
    widths = [len(labels) for _, labels in dimensions]
    counts = [row[:width] for row, width in zip(action_counts, widths, strict=True)]
    normal = [row[:width] for row, width in zip(reference.action_counts, widths, strict=True)]
    return _judge(counts, normal, _calibrated(reference, "action", episodes, alarm_rate))


def _calibrated(reference: Reference, kind: str, episodes: int, alarm_rate: float) -> tuple[Floats, int]:
    """Thresholds per column, and the size of the window that they are of (0 for none)."""
    thresholds: Floats = getattr(reference, f"{kind}_thresholds")
    rates = reference.alarm_rates.tolist()
    if alarm_rate not in rates:
        raise MonitoringUsageError(
            f"no threshold for an alarm rate of {alarm_rate}", expected=f"one of {rates}"
        )
    fitting = [w for w, size in enumerate(reference.windows.tolist()) if size <= episodes]
    if not fitting:
        return np.full(thresholds.shape[2], np.inf), 0
    return thresholds[fitting[-1], rates.index(alarm_rate)], int(reference.windows[fitting[-1]])


def _judge(counts: list[Counts], normal: list[Counts], calibrated: tuple[Floats, int]) -> Judgement:
    thresholds, window = calibrated
    found, expected = [len(row) for row in counts], [len(row) for row in normal]
    if found != expected:
        raise MonitoringUsageError(f"counts have cells {found}", expected=f"{expected}, as the reference has")
    values = np.array([psi(c, n) for c, n in zip(counts, normal, strict=True)])
    known = np.isfinite(thresholds) & np.array([c.sum() > 0 for c in counts], np.bool_)
    verdicts = (_verdict(*column) for column in zip(known, values > thresholds, strict=True))
    return Judgement(values, thresholds, tuple(verdicts), window)


def _verdict(known: np.bool_, exceeds: np.bool_) -> DriftVerdict:
    if not known:
        return DriftVerdict.NOT_ENOUGH_DATA
    return DriftVerdict.DRIFT if exceeds else DriftVerdict.FINE


def _not_applicable(columns: int) -> Judgement:
    nothing = np.full(columns, np.nan)
    return Judgement(nothing, nothing, (DriftVerdict.NOT_APPLICABLE,) * columns, 0)
