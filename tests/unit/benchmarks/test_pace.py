from functools import partial

import numpy as np
import pytest
from benchmarks.points import Run
from benchmarks.rounds import MAX_CALLS, calls_within
from benchmarks.timing import MIN_LOOPS, median_ratio, time_in_turn
from benchmarks.turns import in_turn


def _run(calls: int, seconds: float) -> Run:
    return Run(seconds, np.ones(calls))


def test_the_order_turns_from_round_to_round() -> None:
    assert list(in_turn(2, 3)) == [(0, 0), (0, 1), (1, 1), (1, 0), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    ("warm_up", "expected"),
    [
        (_run(100, 0.1), 500),
        (_run(100, 10.0), 100),
        (_run(100, 1e-6), MAX_CALLS),
    ],
    ids=["as many as fit", "never fewer than the warm-up", "never without end"],
)
def test_calls_fill_the_time(warm_up: Run, expected: int) -> None:
    assert calls_within(0.5, warm_up, least=100) == expected


def test_every_action_is_timed_in_every_round() -> None:
    called = {"a": 0, "b": 0}

    def count(name: str) -> None:
        called[name] += 1

    times = time_in_turn({name: partial(count, name) for name in called}, rounds=3, seconds=0.0)
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}
    assert min(called.values()) >= 3 * MIN_LOOPS


def test_ratios_of_rounds_come_before_their_median() -> None:
    assert median_ratio([1.0, 8.0, 3.0], [2.0, 4.0, 4.0]) == 0.75
