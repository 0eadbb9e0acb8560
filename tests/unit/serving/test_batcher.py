"""How calls of one moment meet on an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest

from steersman.serving.deciding.call import Call
from steersman.serving.dispatching.dispatcher import Dispatcher
from steersman.serving.rpc.batcher import FIRST_TRY, LAST_TRY, Batcher, Patience


class Desk:
    """A dispatcher that answers with tags: at once, or when it is told to."""

    def __init__(self, *, late: bool = False) -> None:
        self.batches: list[list[Any]] = []
        self.sinks: list[Any] = []
        self.late = late
        self.taken = asyncio.Event()

    def submit(self, calls: Sequence[Call], sink: Any) -> None:
        self.batches.append([call.tag for call in calls])
        self.sinks.append(sink)
        self.taken.set()
        if not self.late:
            sink.reply(range(len(calls)), self.batches[-1])


def batcher(desk: Desk) -> Batcher:
    return Batcher(cast("Dispatcher", desk))


def call(tag: int) -> Call:
    return Call("toy", {}, tag=tag)


async def test_calls_of_one_turn_are_one_batch() -> None:
    desk = Desk()
    made = batcher(desk)
    futures = [made.submit(call(tag)) for tag in range(3)]
    assert await asyncio.gather(*futures) == [0, 1, 2]
    assert desk.batches == [[0, 1, 2]]


async def test_a_call_that_was_given_up_is_not_decided() -> None:
    desk = Desk()
    made = batcher(desk)
    first, second = made.submit(call(1)), made.submit(call(2))
    first.cancel()
    assert cast("Any", await second) == 2
    assert desk.batches == [[2]]


async def test_answers_may_come_from_another_thread() -> None:
    desk = Desk(late=True)
    made = batcher(desk)
    first, second = made.submit(call(1)), made.submit(call(2))
    await desk.taken.wait()
    assert desk.sinks[0].wanted(1)
    second.cancel()
    assert not desk.sinks[0].wanted(1)
    threading.Thread(target=desk.sinks[0].reply, args=([1, 0], ["two", "one"])).start()
    assert cast("Any", await first) == "one"


async def test_a_defect_reaches_every_caller() -> None:
    desk = Desk()
    desk.submit = lambda calls, sink: 1 // 0  # type: ignore[method-assign,assignment]
    made = batcher(desk)
    futures = [made.submit(call(tag)) for tag in range(2)]
    found = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(item) for item in found] == [ZeroDivisionError] * 2


def learned(*sizes: int) -> Patience:
    patience = Patience()
    for size in sizes:
        patience.learn(size)
    return patience


def test_who_had_company_waits_for_it() -> None:
    assert not Patience().waits
    assert learned(2).waits
    assert not learned(2, 1).waits


@pytest.mark.parametrize("then", [5, 1])
def test_now_and_then_it_is_tried(then: int) -> None:
    patience = learned(*[1] * FIRST_TRY)
    assert patience.waits
    patience.learn(then)
    assert patience.waits == (then > 1)


def test_a_single_caller_is_made_to_wait_ever_more_seldom() -> None:
    patience = Patience()
    waited = 0
    for _ in range(10_000):
        waited += patience.waits
        patience.learn(1)
    assert waited <= 10_000 / LAST_TRY + 8
