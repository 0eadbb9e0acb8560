"""Reading the server's own metrics."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 10.0
_SHOWN = (
    ("steersman_decisions_total", "source"),
    ("steersman_fallbacks_total", "reason"),
    ("steersman_row_errors_total", "reason"),
    ("steersman_action_bin_total", "bin"),
)
_UP_TO_A_MILLISECOND = "0.001"


@dataclass(frozen=True, slots=True)
class Scrape:
    """The text of `/metrics` at one moment."""

    text: str

    def highlights(self, policy: str) -> list[tuple[str, str]]:
        """Series of a policy that are worth a look, with their values."""
        samples = [s for f in text_string_to_metric_families(self.text) for s in f.samples]
        mine = [(s.name, s.labels, s.value) for s in samples if s.labels.get("policy") == policy]
        rows = [
            (_series(name, label, labels[label]), f"{value:,.0f}")
            for name, label, labels, value in _picked(mine)
        ]
        return [*rows, ("decided within 1 ms", f"{_share_within_a_millisecond(mine):.1%}")]


def _picked(
    samples: list[tuple[str, Mapping[str, str], float]],
) -> Iterator[tuple[str, str, Mapping[str, str], float]]:
    for wanted, label in _SHOWN:
        for name, labels, value in samples:
            if name == wanted and value:
                yield name, label, labels, value


def _series(name: str, label: str, value: str) -> str:
    return f'{name}{{{label}="{value}"}}'


def _share_within_a_millisecond(samples: list[tuple[str, Mapping[str, str], float]]) -> float:
    buckets = {
        labels["le"]: value
        for name, labels, value in samples
        if name == "steersman_decision_duration_seconds_bucket" and labels["phase"] == "total"
    }
    return buckets[_UP_TO_A_MILLISECOND] / buckets["+Inf"]


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of a server.

    Attributes:
        url: The server's HTTP address.
    """

    url: str

    def scrape(self) -> Scrape:
        """Reads them now."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=TIMEOUT_S) as answer:  # noqa: S310  our own server
            return Scrape(answer.read().decode())
