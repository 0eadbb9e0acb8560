"""Calls whose deadlines are looked after: what is kept of them, and what a defect does."""

from __future__ import annotations

import queue
import weakref
from collections.abc import Sequence
from time import perf_counter_ns

import numpy as np
import pytest

from steersman.serving.deciding.call import Call, RawTensor
from steersman.serving.dispatching.timer import LEAST_CELLS, DeadlineTimer
from steersman.serving.dispatching.waiting import Outcome, WaitingCall

HOUR = 3600 * 1_000_000_000
TIMEOUT_S = 20.0


class NoSink:
    def reply(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None: ...

    def wanted(self, place: int) -> bool:
        return True


def item() -> WaitingCall:
    elements = np.zeros(4, np.float32)
    return WaitingCall(Call("toy", {"": RawTensor(elements, None, typed=True)}), 0, NoSink(), 1, 0)


def test_an_answered_call_with_a_far_deadline_is_not_kept() -> None:
    timer = DeadlineTimer(lambda due: None, perf_counter_ns)
    kept = []

    def answered() -> None:
        waiting = item()
        kept.append(weakref.ref(waiting.call.observations[""].elements))
        timer.add(perf_counter_ns() + HOUR, waiting)
        waiting.settle()

    for _ in range(10 * LEAST_CELLS):
        answered()
    assert [reference for reference in kept if reference() is not None] == []
    assert len(timer._heap) <= LEAST_CELLS


def test_what_still_waits_is_kept_however_much_was_answered_around_it() -> None:
    timer = DeadlineTimer(lambda due: None, perf_counter_ns)
    waiting = [item() for _ in range(10 * LEAST_CELLS)]
    for place, one in enumerate(waiting):
        timer.add(perf_counter_ns() + HOUR - place, one)
        if place % 5:
            one.settle()
    assert {id(one) for one in waiting[::5]} == {id(cell.item) for _, _, cell in timer._heap if cell.item}
    assert timer._heap[0] == min(timer._heap, key=lambda entry: entry[:2])


def test_a_call_that_was_answered_before_it_was_added_is_not_kept() -> None:
    timer = DeadlineTimer(lambda due: None, perf_counter_ns)
    waiting = item()
    waiting.settle()
    timer.add(perf_counter_ns() + HOUR, waiting)
    assert timer._heap == []


def test_a_defect_is_logged_and_the_next_deadline_is_looked_after(caplog: pytest.LogCaptureFixture) -> None:
    fired: queue.Queue[list[WaitingCall]] = queue.Queue()

    def fire(due: Sequence[WaitingCall]) -> None:
        fired.put(list(due))
        if due[0] is first:
            raise ZeroDivisionError

    timer = DeadlineTimer(fire, perf_counter_ns)
    first, second = item(), item()
    timer.add(1, first)
    assert fired.get(timeout=TIMEOUT_S) == [first]
    timer.add(1, second)
    assert fired.get(timeout=TIMEOUT_S) == [second]
    assert "defect while looking after deadlines" in caplog.text
