"""The server's own account of its calls: h2load sees HTTP 200, whatever the gRPC status is."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.errors import BenchmarkError

ACT = "Act"
GOOD_CODE = "ok"
GOOD_SOURCE = "policy"
WORKER_READY = "steersman_worker_ready_timestamp_seconds"


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters at one moment.

    Attributes:
        calls: Calls of one method by status.
        decisions: By source.
        ready_unix_s: Since when each worker answers.
    """

    calls: Mapping[str, int]
    decisions: Mapping[str, int]
    ready_unix_s: Mapping[str, float]


def read_totals(url: str, method: str = ACT) -> Totals:
    """Reads the counters over HTTP."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310  our own server
        return parse_totals(answer.read().decode(), method)


def parse_totals(text: str, method: str = ACT) -> Totals:
    """The counters in a text in Prometheus' format."""
    calls: dict[str, int] = {}
    decisions: dict[str, int] = {}
    ready: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels, value = sample.labels, sample.value
            if sample.name == "steersman_calls_total" and labels["method"] == method:
                calls[labels["code"]] = int(value)
            elif sample.name == "steersman_decisions_total":
                decisions[labels["source"]] = decisions.get(labels["source"], 0) + int(value)
            elif sample.name == WORKER_READY:
                ready[labels["worker"]] = value
    return Totals(calls, decisions, ready)


def verify_counted(before: Totals, after: Totals, calls: int, server: str, *, rows: int = 1) -> None:
    """Checks that the server decided so many calls of so many rows, all by the policy, and nothing else.

    Raises:
        BenchmarkError: It counted something else.
    """
    counted = _difference(before.calls, after.calls)
    decided = _difference(before.decisions, after.decisions)
    if counted != {GOOD_CODE: calls} or decided != {GOOD_SOURCE: calls * rows}:
        raise BenchmarkError(
            f"it counted the calls {counted or 'none'} and the decisions {decided or 'none'}",
            where=server,
            expected=f"{calls} calls of {rows} rows that the policy answered",
        )


def _difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    grown = {key: count - before.get(key, 0) for key, count in after.items()}
    return {key: count for key, count in grown.items() if count}
