"""The upper bound of a rate: known values, and its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.export.evidence.intervals import (
    clustered_upper_bound,
    design_effect,
    log_cdf,
    mean_interval,
    student_quantile,
    upper_bound,
)


@pytest.mark.parametrize(
    ("events", "trials", "expected"),
    [
        (0, 1, 0.95),
        (0, 10, 1 - 0.05**0.1),
        (0, 10_000, 1 - 0.05**1e-4),
        (1, 1, 1.0),
        (0, 0, 1.0),
        (1, 10, 0.394163),
        (5, 10, 0.777559),
        (10, 20, 0.698046),
        (2, 50, 0.120614),
    ],
)
def test_known_values(events: int, trials: int, expected: float) -> None:
    assert upper_bound(events, trials) == pytest.approx(expected, abs=2e-6)


@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_at_the_bound_so_few_events_have_the_stated_probability(case: tuple[int, int]) -> None:
    events, trials = case
    rate = upper_bound(events, trials)
    if events == trials:
        assert rate == 1.0
        return
    below = sum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(events + 1))
    assert below == pytest.approx(0.05, rel=1e-6)


@given(st.integers(1, 100_000), st.data())
def test_the_bound_lies_above_the_rate_and_grows_with_events(trials: int, data: st.DataObject) -> None:
    events = data.draw(st.integers(0, trials - 1))
    assert events / trials < upper_bound(events, trials) <= upper_bound(events + 1, trials) <= 1.0


def test_many_events_sum_without_underflow() -> None:
    assert log_cdf(50_000, 1_000_000, 0.05) == pytest.approx(math.log(0.5), abs=0.01)
    assert upper_bound(50_000, 1_000_000) == pytest.approx(
        0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 1e6), rel=1e-3
    )


@pytest.mark.parametrize(
    ("share", "freedom", "expected"),
    [
        (0.95, 1, 6.3138),
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.95, 3, 2.3534),
        (0.975, 3, 3.1824),
        (0.975, 9, 2.2622),
        (0.95, 60, 1.6706),
        (0.975, math.inf, 1.9600),
    ],
)
def test_students_quantiles(share: float, freedom: float, expected: float) -> None:
    assert student_quantile(share, freedom) == pytest.approx(expected, rel=2e-3)


def test_the_interval_of_a_mean() -> None:
    low, high = mean_interval(np.arange(10.0))
    assert (low + high) / 2 == pytest.approx(4.5)
    assert (high - low) / 2 == pytest.approx(2.2622 * 3.02765 / math.sqrt(10), rel=1e-4)
    assert mean_interval(np.array([1.0])) == (-math.inf, math.inf)


def test_independent_trials_have_no_design_effect_to_speak_of() -> None:
    rng = np.random.default_rng(0)
    events, clusters = rng.random(20_000) < 0.02, np.repeat(np.arange(200), 100)
    assert design_effect(events, clusters) == pytest.approx(1.0, abs=0.3)
    plain = upper_bound(int(events.sum()), len(events))
    assert plain <= clustered_upper_bound(events, clusters) < 1.1 * plain


def test_events_that_come_in_whole_clusters_count_as_clusters() -> None:
    clusters = np.repeat(np.arange(100), 50)
    events = np.isin(clusters, [3, 14, 15, 92])
    assert design_effect(events, clusters) == pytest.approx(50 * 100 / 99)
    bound = clustered_upper_bound(events, clusters)
    assert bound == pytest.approx(upper_bound(4, 100), rel=0.05)
    assert bound > 1.8 * upper_bound(200, 5_000)


def test_without_events_the_rule_of_three_holds() -> None:
    events = np.zeros(10_000, np.bool_)
    bound = clustered_upper_bound(events, np.repeat(np.arange(10), 1_000))
    assert bound == pytest.approx(3 / 10_000, rel=0.01)


@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0, 1))
def test_clusters_never_tighten_the_bound(seed: int, count: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    events, clusters = rng.random(200) < rate, rng.integers(count, size=200)
    assert upper_bound(int(events.sum()), 200) <= clustered_upper_bound(events, clusters) <= 1.0


def test_no_trials_bound_nothing() -> None:
    assert clustered_upper_bound(np.zeros(0, np.bool_), np.zeros(0)) == 1.0
