"""Drift between two scrapes of `/metrics`, judged with the bundle's own reference."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.bundle.bundle import Bundle
from steersman.bundle.manifest import REFERENCE_FILE
from steersman.bundle.reference import unpack_references
from steersman.bundle.specs import feature_names
from steersman.demo.metrics import Scrape
from steersman.monitoring.drift import DriftVerdict, judge
from steersman.monitoring.scrape import scraped_window

MODE = "greedy"
ALARM_RATE = 0.01


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """What a window says about one feature."""

    name: str
    psi: float
    threshold: float
    verdict: DriftVerdict

    @property
    def drifted(self) -> bool:
        """Whether it drifted."""
        return self.verdict is DriftVerdict.DRIFT


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What a window says about all features."""

    features: tuple[FeatureDrift, ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of those that drifted."""
        return tuple(feature.name for feature in self.features if feature.drifted)


def judge_episodes(bundle: Bundle, before: Scrape, after: Scrape, episodes: int) -> DriftReport:
    """Judges what was observed between two scrapes.

    Args:
        bundle: The bundle that was served.
        before: The earlier scrape.
        after: The later one.
        episodes: Whole episodes that were played in between.
    """
    manifest = bundle.manifest
    names = feature_names(manifest.contract)
    window = scraped_window(
        before.text, after.text, policy=manifest.policy, version=manifest.version, mode=MODE
    )
    reference = unpack_references(bundle.read(REFERENCE_FILE), REFERENCE_FILE)[MODE]
    judgement = judge(reference, window.features(names), episodes, alarm_rate=ALARM_RATE)
    columns = zip(
        names, judgement.psi.tolist(), judgement.thresholds.tolist(), judgement.verdicts, strict=True
    )
    return DriftReport(tuple(FeatureDrift(*column) for column in columns))
