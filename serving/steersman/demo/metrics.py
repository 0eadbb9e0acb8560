"""Reading the server's own metrics."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 10.0
_SHOWN = (
    ("steersman_decisions_total", "source"),
    ("steersman_fallbacks_total", "reason"),
    ("steersman_episodes_total", "mode"),
    ("steersman_row_errors_total", "reason"),
    ("steersman_action_bin_total", "bin"),
)
_A_MILLISECOND = "0.001"


@dataclass(frozen=True, slots=True)
class Scrape:
    """The text of `/metrics` at one moment."""

    text: str

    def gained_since(self, before: Scrape, metric: str, label: str, **labels: str) -> dict[str, int]:
        """What the series of a counter gained, by the values of one label; those that gained are told.

        Args:
            before: An earlier scrape of the same server.
            metric: Name of the counter.
            label: Label to tell the series apart by; those with the same value are added up.
            labels: Values that other labels must have.
        """
        return dict(self._by(metric, label, labels) - before._by(metric, label, labels))

    def total(self, metric: str, **labels: str) -> int:
        """The sum of a counter's series that have these labels."""
        return sum(self._by(metric, "policy", labels).values())

    def highlights(self, policy: str) -> list[tuple[str, str]]:
        """Series of a policy that are worth a look, with their values."""
        rows = [
            (f'{metric}{{{label}="{value}"}}', f"{count:,}")
            for metric, label in _SHOWN
            for value, count in self._by(metric, label, {"policy": policy}).items()
            if count
        ]
        return [*rows, ("decided within 1 ms", f"{self._share_within_a_millisecond(policy):.1%}")]

    def _by(self, metric: str, label: str, labels: Mapping[str, str]) -> Counter[str]:
        sums: Counter[str] = Counter()
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                if sample.name == metric and labels.items() <= sample.labels.items():
                    sums[sample.labels[label]] += int(sample.value)
        return sums

    def _share_within_a_millisecond(self, policy: str) -> float:
        total = {"policy": policy, "phase": "total"}
        buckets = self._by("steersman_decision_duration_seconds_bucket", "le", total)
        return buckets[_A_MILLISECOND] / buckets["+Inf"]


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of a server.

    Attributes:
        url: The server's HTTP address.
    """

    url: str

    def scrape(self) -> Scrape:
        """Reads them now."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=TIMEOUT_S) as answer:  # noqa: S310  our own
            return Scrape(answer.read().decode())
