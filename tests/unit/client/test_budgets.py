from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.client.budgets import (
    HEDGE_BURST,
    HEDGE_SHARE,
    MAX_TOKENS,
    HedgeBudget,
    RetryThrottle,
    TailLatency,
)


@given(st.lists(st.booleans(), max_size=400))
def test_retries_are_a_small_share_of_good_calls_once_a_replica_fails(outcomes: list[bool]) -> None:
    throttle = RetryThrottle()
    retries = 0
    for good in outcomes:
        if good:
            throttle.succeeded()
        else:
            throttle.failed()
            retries += throttle.open
        assert 0 <= throttle.tokens <= MAX_TOKENS
    assert retries <= MAX_TOKENS / 2 + 0.1 * sum(outcomes)


@given(st.lists(st.booleans(), max_size=400))
def test_hedges_are_bounded_by_the_share_of_calls(wanted: list[bool]) -> None:
    budget = HedgeBudget()
    hedges = 0
    for wants in wanted:
        budget.call()
        hedges += wants and budget.take()
    assert hedges <= HEDGE_BURST + HEDGE_SHARE * len(wanted) + 1e-9


def test_five_of_a_hundred_calls_may_be_hedged_in_the_long_run() -> None:
    budget = HedgeBudget(tokens=0.0)
    hedges = 0
    for _ in range(10_000):
        budget.call()
        hedges += budget.take()
    assert hedges == pytest.approx(500, abs=2)


@pytest.mark.parametrize("scale", [1e-4, 1.0])
def test_the_tail_is_found_whatever_the_unit(scale: float) -> None:
    chance = random.Random(1)
    tail = TailLatency()
    above = 0
    for number in range(20_000):
        sample = scale * chance.lognormvariate(0, 0.7)
        above += number >= 1000 and sample > (tail.seconds or 0)
        tail.add(sample)
    assert 0.04 < above / 19_000 < 0.06


def test_the_tail_is_unknown_at_first() -> None:
    tail = TailLatency()
    for _ in range(99):
        tail.add(0.01)
    assert tail.seconds is None
    tail.add(0.01)
    assert tail.seconds == pytest.approx(0.01, rel=0.3)
