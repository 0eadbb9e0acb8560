"""The stated false-alarm rate holds for correlated episodes, and what it is held against does not.

Each reference judges a few windows only, so that alarms are nearly independent and binomial intervals apply.
"""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from steersman.monitoring.bins import count_cells
from steersman.monitoring.drift import DriftVerdict, judge
from steersman.monitoring.reference import build_reference

WINDOWS = {5: 4, 25: 2}  # size in episodes: windows judged by each reference
REFERENCES = 100
EPISODES = 100
CHI_SQUARED_99 = 26.2
"""99 % quantile with 12 degrees of freedom: 13 cells."""


@pytest.fixture(scope="module")
def judged(contract, simulate):
    """For each window size, (counts, reference) of windows without any drift."""
    rng = np.random.default_rng(2024)
    windows = {size: [] for size in WINDOWS}
    for seed in range(REFERENCES):
        observations = simulate(rng, EPISODES)
        actions = [np.zeros(len(x), np.int64) for x in observations]
        reference = build_reference(observations, actions, contract, seed=seed, replicates=1_000)
        for size, number in WINDOWS.items():
            for _ in range(number):
                x = np.concatenate(simulate(rng, size))
                windows[size].append((count_cells(x, reference.feature_edges), reference))
    return windows


def binomial_tail(successes, trials, rate):
    """Probability of at least so many successes."""
    return sum(comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(successes, trials + 1))


def is_plausible(alarms, trials, rate):
    """Whether the exact 99 % interval (Clopper-Pearson) around alarms / trials contains the rate."""
    above = binomial_tail(alarms, trials, rate)
    below = 1 - binomial_tail(alarms + 1, trials, rate)
    return min(above, below) > 0.005


@pytest.mark.parametrize("alarm_rate", [0.01, 0.05])
@pytest.mark.parametrize("size", WINDOWS)
def test_windows_without_drift_alarm_at_the_stated_rate(judged, size, alarm_rate):
    verdicts = [
        judge(reference, counts, size, alarm_rate=alarm_rate).verdict for counts, reference in judged[size]
    ]
    alarms = verdicts.count(DriftVerdict.DRIFT)
    assert is_plausible(alarms, len(verdicts), alarm_rate), f"{alarms} of {len(verdicts)}"


@pytest.mark.parametrize("size", WINDOWS)
def test_the_usual_rules_cry_wolf(judged, size):
    usual, chi_squared = 0, 0
    for counts, reference in judged[size]:
        psi = judge(reference, counts, size, alarm_rate=0.01).psi
        steps, reference_steps = counts.sum(axis=1), reference.feature_counts.sum(axis=1)
        usual += (psi > 0.1).any()
        chi_squared += (psi / (1 / steps + 1 / reference_steps) > CHI_SQUARED_99).any()
    windows = len(judged[size])
    assert not is_plausible(int(chi_squared), windows, 0.01)
    assert chi_squared > 0.5 * windows
    assert size > 5 or usual > 0.5 * windows


def test_a_shift_of_half_a_standard_deviation_is_seen(contract, simulate):
    rng = np.random.default_rng(7)
    observations = simulate(rng, EPISODES)
    actions = [np.zeros(len(x), np.int64) for x in observations]
    reference = build_reference(observations, actions, contract, replicates=1_000)
    seen = 0
    for _ in range(40):
        x = np.concatenate(simulate(rng, 25, shift=0.5))
        judgement = judge(reference, count_cells(x, reference.feature_edges), 25, alarm_rate=0.01)
        seen += judgement.verdicts[0] is DriftVerdict.DRIFT
    assert seen >= 38
