"""The counters as Prometheus metrics. The supervisor registers one collector; workers export nothing.

The slots are added up here, at scrape time, so N workers look like one and nothing is counted twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from steersman.monitoring import metrics
from steersman.monitoring.blocks import LATENCY_EDGES, MARGIN_EDGES, PlacedBlock
from steersman.monitoring.counters import Segment
from steersman.monitoring.series import Series, ServedVersion, block_series, process_series, version_series

_EDGES = {metrics.DURATION: LATENCY_EDGES, metrics.CONSTRAINT_MARGIN: MARGIN_EDGES}
_BOUNDS = {metric: [*map(floatToGoString, edges), "+Inf"] for metric, edges in _EDGES.items()}


class SteersmanCollector(Collector):
    """Reads the segment whenever it is scraped.

    Args:
        segment: The workers' counters.
        blocks: Gives the blocks to export. One that is left out and comes back later goes on where it was.
        versions: Gives the versions that are loaded, for their references and what they are.
        more: Gives series that only the caller knows.
    """

    def __init__(
        self,
        segment: Segment,
        blocks: Callable[[], Sequence[PlacedBlock]],
        versions: Callable[[], Sequence[ServedVersion]],
        more: Callable[[], Iterable[Series]] = tuple,
    ) -> None:
        self._segment = segment
        self._blocks = blocks
        self._versions = versions
        self._more = more

    def describe(self) -> Iterable[Metric]:
        """Every family, empty: registering the collector reads no counters."""
        return [_family(metric) for metric in metrics.METRICS]

    def collect(self) -> Iterator[Metric]:
        """Every family with its series now."""
        started = time.perf_counter()
        values = _added_up(self._series())
        yield from (_filled(metric, values[metric]) for metric in metrics.METRICS if metric in values)
        elapsed = time.perf_counter() - started
        yield _filled(metrics.COLLECTOR_DURATION, {(): elapsed})

    def _series(self) -> Iterator[Series]:
        totals = map(self._segment.total, self._blocks())
        return chain(
            chain.from_iterable(map(block_series, totals)),
            chain.from_iterable(map(version_series, self._versions())),
            self._more(),
            process_series(self._segment, monotonic_ns=time.monotonic_ns(), unix_ns=time.time_ns()),
        )


def _added_up(series: Iterable[Series]) -> dict[metrics.Metric, dict[tuple[str, ...], Any]]:
    """Values by metric and labels. Blocks with the same labels, as after a change of spec, are one series."""
    values: dict[metrics.Metric, dict[tuple[str, ...], Any]] = {metric: {} for metric in metrics.METRICS}
    for metric, labels, value in series:
        known = values[metric]
        adds = metric.type in {"counter", "histogram"} and labels in known
        known[labels] = known[labels] + value if adds else value
    return {metric: known for metric, known in values.items() if known}


def _family(metric: metrics.Metric) -> Any:
    match metric.type:
        case "counter":
            return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        case "gauge":
            return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        case "histogram":
            return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        case "info":
            return InfoMetricFamily(metric.name.removesuffix("_info"), metric.help)


def _filled(metric: metrics.Metric, values: dict[tuple[str, ...], Any]) -> Metric:
    family: Metric = _family(metric)
    for labels, value in values.items():
        _add(metric, family, labels, value)
    return family


def _add(metric: metrics.Metric, family: Any, labels: tuple[str, ...], value: Any) -> None:
    if metric.type == "histogram":
        bounds, numbers = _BOUNDS[metric], value.tolist()
        buckets = list(zip(bounds, accumulate(numbers[: len(bounds)]), strict=True))
        family.add_metric(labels, buckets, sum(numbers[len(bounds) :]))  # no sum is kept of negative edges
    elif metric.type == "info":
        family.add_metric([], dict(zip(metric.labels, labels, strict=True)))
    else:
        family.add_metric(labels, value)
