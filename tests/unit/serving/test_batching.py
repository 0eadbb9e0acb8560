"""What runs on a thread, what it takes there, and when a batch begins."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.serving.deciding.call import Call
from steersman.serving.dispatching.batching import UNKNOWN_S, BatchPlan, is_heavy, make_plan
from steersman.serving.dispatching.waiting import BatchQueue, Outcome, WaitingCall
from steersman.serving.rollout.deployment import BatchingSettings

MS = 1_000_000
TIMINGS = {1: 0.001, 8: 0.002, 32: 0.005}
PLAN = make_plan(BatchingSettings(max_delay_ms=2.0, preferred_rows=(32, 8)), TIMINGS)


class NoSink:
    def reply(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None: ...

    def wanted(self, place: int) -> bool:
        return True


def item(rows: int = 1, entered_ns: int = 0, last_start_ns: int = 0) -> WaitingCall:
    return WaitingCall(Call("toy", {}), 0, NoSink(), rows, entered_ns, last_start_ns)


def queue(*items: WaitingCall, plan: BatchPlan = PLAN) -> BatchQueue:
    made = BatchQueue(plan)
    for waiting in items:
        made.put(waiting)
    return made


def with_company(*items: WaitingCall) -> BatchQueue:
    """A queue whose last batch was of two calls."""
    made = queue(item(), item())
    made.take(0)
    made.finished(MS)
    made.slowness = 1.0
    for waiting in items:
        made.put(waiting)
    return made


def test_a_slow_row_or_a_slow_batch_is_heavy() -> None:
    assert is_heavy({1: 0.002, 32: 0.0025})
    assert is_heavy({1: 0.0001, 32: 0.02})
    assert not is_heavy({1: 0.0002, 32: 0.002})
    assert not is_heavy({})


def test_time_between_two_timings_is_on_a_line_and_beyond_them_in_proportion() -> None:
    assert PLAN.seconds(1) == pytest.approx(0.001)
    assert PLAN.seconds(8) == pytest.approx(0.002)
    assert PLAN.seconds(20) == pytest.approx(0.0035)
    assert PLAN.seconds(64) == pytest.approx(0.010)
    assert PLAN.seconds(0) == 0.0
    assert make_plan(BatchingSettings(), {}).seconds(5) == UNKNOWN_S


@given(st.integers(1, 500), st.integers(1, 500))
def test_more_rows_never_take_less(few: int, more: int) -> None:
    few, more = sorted((few, more))
    assert PLAN.seconds(few) <= PLAN.seconds(more) + 1e-12
    assert PLAN.seconds_in_batches(few) <= PLAN.seconds_in_batches(more) + 1e-12


def test_a_single_caller_does_not_wait_for_company() -> None:
    assert queue(item(entered_ns=0)).delay_ns(0) == 0


def test_who_had_company_waits_for_it_but_not_for_long() -> None:
    waiting = with_company(item(entered_ns=10 * MS))
    assert waiting.delay_ns(10 * MS) == 2 * MS
    assert waiting.delay_ns(11 * MS) == MS
    assert waiting.delay_ns(13 * MS) == 0


def test_a_preferred_size_begins_at_once() -> None:
    assert with_company(item(8)).delay_ns(0) == 0
    assert with_company(item(7)).delay_ns(0) > 0
    assert with_company(item(40)).delay_ns(0) == 0


def test_nobody_waits_past_the_start_that_a_deadline_needs() -> None:
    waiting = with_company(item(entered_ns=10 * MS), item(entered_ns=10 * MS, last_start_ns=10 * MS + 500))
    assert waiting.delay_ns(10 * MS) == 500
    assert waiting.delay_ns(11 * MS) == 0


def test_a_batch_is_the_oldest_that_fit_and_a_large_call_goes_alone() -> None:
    sizes = [10, 20, 5, 100, 1]
    waiting = queue(*map(item, sizes))
    taken = []
    while len(waiting):
        taken.append([call.rows for call in waiting.take(0)])
        waiting.finished(1)
    assert taken == [[10, 20], [5], [100], [1]]
    assert waiting.rows == 0


def test_the_forecast_counts_what_runs_and_what_waits() -> None:
    waiting = queue(item(8), item(32))
    waiting.take(0)
    expected = (0.002 - 0.001) + PLAN.seconds(32) + PLAN.seconds(1)
    assert waiting.wait_s(1, MS) == pytest.approx(expected)


def test_the_forecast_learns_from_slow_batches_and_forgives() -> None:
    waiting = queue(item(8))
    waiting.take(0)
    waiting.finished(20 * MS)
    assert waiting.slowness == pytest.approx(0.8 + 0.2 * 10)
    for _ in range(200):
        waiting.forgive()
    assert waiting.slowness == 1.0


def test_what_was_answered_otherwise_waits_no_longer() -> None:
    first, second = item(3), item(4)
    waiting = queue(first, second)
    waiting.drop([first])
    assert (len(waiting), waiting.rows) == (1, 4)
    assert waiting.take(0) == [second]


@given(st.lists(st.integers(1, 50), max_size=40))
def test_no_call_is_lost_doubled_or_overtaken(sizes: list[int]) -> None:
    items = [item(rows) for rows in sizes]
    waiting = queue(*items)
    taken: list[WaitingCall] = []
    while len(waiting):
        batch = waiting.take(0)
        assert len(batch) == 1 or sum(call.rows for call in batch) <= PLAN.most_rows
        taken += batch
    assert taken == items
