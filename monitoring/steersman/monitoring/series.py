"""Counters and references as series: which metric, which labels, what value.

Known series are there from the start, at 0, so that rates and alerts see the first event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.reference import Reference, smoothed_shares
from steersman.bundle.specs import Contract
from steersman.monitoring import metrics
from steersman.monitoring.bins import CELL_LABELS
from steersman.monitoring.blocks import (
    BREAKER_STATES,
    BREAKER_TRANSITIONS,
    MARGIN_EDGES,
    PHASES,
    SHADOW_OUTCOMES,
    BlockView,
)
from steersman.monitoring.columns import Dimension, action_dimensions, watched_features
from steersman.monitoring.counters import Segment

MAX_THRESHOLDS = 500
"""Threshold series of one version and mode; where there would be more, they stay in the bundle."""

SHADOW_LANE = "shadow"

Series = tuple[metrics.Metric, tuple[str, ...], Any]
"""Metric, label values in its order, and value: a number, or what a histogram has: its buckets, not
cumulated, and after them the sum, which one with edges below 0 has not."""


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A version that is loaded, as its metrics show it.

    Attributes:
        policy: Name of the policy.
        version: Its version.
        variant: The variant that answers.
        digest: SHA-256 of the manifest.
        contract: The policy's contract.
        references: By mode.
    """

    policy: str
    version: int
    variant: str
    digest: str
    contract: Contract
    references: Mapping[str, Reference]


def block_series(view: BlockView) -> Iterator[Series]:
    """What was counted for one version in one lane."""
    spec = view.spec
    lane = (spec.policy, str(spec.version), spec.lane)
    yield from _each(metrics.DECISIONS, lane, spec.sources, view.sources)
    yield from _each(metrics.FALLBACKS, lane, spec.reasons, view.fallback_reasons)
    yield from _each(metrics.ROW_ERRORS, lane, spec.reasons, view.error_reasons)
    yield from _each(metrics.ASSIGNMENTS, lane, spec.assigned_by, view.assignments)
    if spec.lane == SHADOW_LANE:
        yield from _each(metrics.SHADOW_ROWS, lane, SHADOW_OUTCOMES, view.shadow)
    for phase, buckets, nanoseconds in zip(PHASES, view.latency, view.latency_ns, strict=True):
        yield metrics.DURATION, (*lane, phase), np.append(buckets.astype(np.float64), nanoseconds / 1e9)
    yield from _each(metrics.OBSERVATIONS, lane, spec.modes, view.modes)
    yield from _each(metrics.EPISODES, lane, spec.modes, view.episodes)
    for m, mode in enumerate(spec.modes):
        labels = (*lane, mode)
        features = [(name, CELL_LABELS) for name in spec.features]
        yield from _cells(metrics.OBSERVATION_BINS, labels, features, view.observation_cells[m])
        yield from _cells(metrics.ACTION_BINS, labels, spec.dimensions, view.action_cells[m])
    yield from _safety_series(view, lane)


def _safety_series(view: BlockView, lane: tuple[str, ...]) -> Iterator[Series]:
    """What constraints, fallback chain and breaker did."""
    spec = view.spec
    for name, buckets in zip(spec.constraints, view.margins, strict=True):
        yield metrics.CONSTRAINT_MARGIN, (*lane, name), buckets[: len(MARGIN_EDGES) + 1]
    yield from _each(metrics.SHIELDED, lane, spec.constraints, view.shielded)
    yield from _each(metrics.CONSTRAINT_FALLBACKS, lane, spec.constraints, view.constraint_fallbacks)
    yield metrics.MEMORY_ASSUMED, lane, int(view.assumed[0])
    yield from _each(metrics.FALLBACK_MEMBERS, lane, spec.members, view.members)
    for change, times in zip(BREAKER_TRANSITIONS, view.breaker_transitions.tolist(), strict=True):
        yield metrics.BREAKER_TRANSITIONS, (*lane, *change), times
    yield from _each(metrics.BREAKER_WORKERS, lane, BREAKER_STATES, view.breaker_states)


def version_series(served: ServedVersion) -> Iterator[Series]:
    """What a loaded version is, and what is normal for it."""
    name = (served.policy, str(served.version))
    yield metrics.POLICY_VERSION, (*name, served.variant, served.digest), 1
    features = [(feature, CELL_LABELS) for feature in watched_features(served.contract)]
    dimensions = action_dimensions(served.contract)
    for mode, reference in served.references.items():
        yield from _reference_series((*name, mode), reference, features, dimensions)


def process_series(segment: Segment, *, monotonic_ns: int, unix_ns: int) -> Iterator[Series]:
    """What the workers are doing.

    Args:
        segment: Their counters.
        monotonic_ns: The host's monotonic clock now, as heartbeats have it.
        unix_ns: Unix time now.
    """
    calls = segment.calls()
    for (m, method), (c, code) in product(enumerate(segment.layout.methods), enumerate(segment.layout.codes)):
        yield metrics.CALLS, (method, code), int(calls[m, c])
    for index in range(segment.layout.slots):
        process, worker = segment.process(index), (str(index),)
        yield metrics.WORKER_STARTS, worker, process.starts
        if process.resident_bytes:
            yield metrics.WORKER_MEMORY, worker, process.resident_bytes
        if process.ready_unix_ns:
            yield metrics.WORKER_READY, worker, process.ready_unix_ns / 1e9
        if process.heartbeat_ns:
            yield metrics.WORKER_HEARTBEAT, worker, (unix_ns - monotonic_ns + process.heartbeat_ns) / 1e9


def _reference_series(
    labels: tuple[str, ...],
    reference: Reference,
    features: Sequence[Dimension],
    dimensions: Sequence[Dimension],
) -> Iterator[Series]:
    names = [name for name, _ in features]
    yield metrics.REFERENCE_EPISODES, labels, int(reference.episodes)
    yield metrics.REFERENCE_STEPS, labels, int(reference.action_counts[0].sum())
    yield from _cells(metrics.REFERENCE_BINS, labels, features, reference.feature_shares())
    yield from _each(metrics.REFERENCE_DESIGN_EFFECT, labels, names, reference.feature_design_effect)
    yield from _each(
        metrics.REFERENCE_DEGREES_OF_FREEDOM, labels, names, reference.feature_degrees_of_freedom
    )
    for dimension, counts in zip(dimensions, reference.action_counts, strict=True):
        shares = smoothed_shares(counts[: len(dimension[1])])
        yield from _cells(metrics.REFERENCE_ACTION_BINS, labels, [dimension], shares[None])
    acted = [name for name, _ in dimensions]
    for metric, columns, thresholds in (
        (metrics.REFERENCE_PSI_THRESHOLD, names, reference.feature_thresholds),
        (metrics.REFERENCE_ACTION_PSI_THRESHOLD, acted, reference.action_thresholds),
    ):
        if thresholds.size <= MAX_THRESHOLDS and np.isfinite(thresholds).all():
            yield from _threshold_series(metric, labels, columns, reference, thresholds)


def _threshold_series(
    metric: metrics.Metric,
    labels: tuple[str, ...],
    columns: Sequence[str],
    reference: Reference,
    thresholds: NDArray[np.float64],
) -> Iterator[Series]:
    windows, rates = reference.windows.tolist(), reference.alarm_rates.tolist()
    for (w, window), (r, rate) in product(enumerate(windows), enumerate(rates)):
        for column, value in zip(columns, thresholds[w, r].tolist(), strict=True):
            yield metric, (*labels, column, str(window), f"{rate:g}"), value


def _each(
    metric: metrics.Metric, labels: tuple[str, ...], names: Sequence[str], values: NDArray[Any]
) -> Iterator[Series]:
    """One series for each name; the empty name, which means none, has no series."""
    for name, value in zip(names, values.tolist(), strict=True):
        if name:
            yield metric, (*labels, name), value


def _cells(
    metric: metrics.Metric, labels: tuple[str, ...], columns: Sequence[Dimension], values: NDArray[Any]
) -> Iterator[Series]:
    """One series for each cell of each column; `values` [C, A] has as many as the widest column needs."""
    for (column, cells), row in zip(columns, values.tolist(), strict=True):
        for cell, value in zip(cells, row, strict=False):
            yield metric, (*labels, column, cell), value
