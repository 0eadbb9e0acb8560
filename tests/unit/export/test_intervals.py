"""The upper bound of a rate: known values, and its definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.export.evidence.intervals import log_cdf, upper_bound


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
