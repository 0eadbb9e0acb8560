"""From points to medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.points import Point

Figure = Callable[[Point], float]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over rounds.

    Attributes:
        median: Its median.
        low: The lowest round.
        high: The highest round.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))


@dataclass(frozen=True, slots=True)
class Row:
    """A server under a load, over all rounds.

    Attributes:
        policy: Name of the policy.
        load: Name of the load.
        server: Name of the server.
        calls: Calls made, all rounds together.
        calls_per_s: Throughput.
        p50_us: Median latency.
        p99_us: 99th percentile of the latency.
        cpu_us: CPU microseconds per call by role.
        total_cpu_us: The same, all processes together.
        cpu_ratio: Total CPU per call over the baseline's, pair by pair; None for the baseline itself.
        rate_ratio: Throughput over the baseline's, likewise.
    """

    policy: str
    load: str
    server: str
    calls: int
    calls_per_s: Spread
    p50_us: Spread
    p99_us: Spread
    cpu_us: dict[str, Spread]
    total_cpu_us: Spread
    cpu_ratio: Spread | None = None
    rate_ratio: Spread | None = None


def summarize(points: Sequence[Point], baseline: str) -> list[Row]:
    """One row for each policy, load and server, in the order in which they were first measured."""
    groups: dict[tuple[str, str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.policy, point.load, point.server), []).append(point)
    places = list(dict.fromkeys((policy, load) for policy, load, _ in groups))
    return [
        _row(group, groups.get((policy, load, baseline), []))
        for policy, load in places
        for (*place, _), group in groups.items()
        if place == [policy, load]
    ]


def _row(group: list[Point], baseline: list[Point]) -> Row:
    first = group[0]
    is_baseline = not baseline or first.server == baseline[0].server
    return Row(
        policy=first.policy,
        load=first.load,
        server=first.server,
        calls=sum(point.calls for point in group),
        calls_per_s=Spread.of(point.calls_per_s for point in group),
        p50_us=Spread.of(point.p50_us for point in group),
        p99_us=Spread.of(point.p99_us for point in group),
        cpu_us={role: Spread.of(point.cpu_us[role] for point in group) for role in first.cpu_us},
        total_cpu_us=Spread.of(point.total_cpu_us for point in group),
        cpu_ratio=None if is_baseline else paired(group, baseline, lambda point: point.total_cpu_us),
        rate_ratio=None if is_baseline else paired(group, baseline, lambda point: point.calls_per_s),
    )


def paired(points: Sequence[Point], baseline: Sequence[Point], figure: Figure) -> Spread:
    """A figure over the baseline's of the same round."""
    beside = {point.round: figure(point) for point in baseline}
    return Spread.of(figure(point) / beside[point.round] for point in points)
