"""What looks after the workers goes on, whatever it meets."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from steersman.serving.errors import ServingError
from steersman.serving.messages import Failed, Ready, Routed
from steersman.serving.supervising.fleet import Fleet
from steersman.serving.supervising.tending import keep_going
from steersman.serving.supervising.worker_process import WorkerProcess

ROUTED = Routed(generation=1, lanes=(), failures=())


async def test_work_that_ends_or_fails_is_begun_again_and_said(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[int] = []
    third = asyncio.Event()

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) == 1:
            raise ZeroDivisionError
        if len(begun) == 3:
            third.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(keep_going("work", work, pause_s=0))
    await asyncio.wait_for(third.wait(), 10)
    assert ["beginning again" in record.message for record in caplog.records] == [True, True]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_defect_in_one_slot_does_not_end_the_watch_of_the_others() -> None:
    watched = asyncio.Event()

    class Watching(Fleet):
        async def _watch(self, slot: int) -> None:
            if not slot:
                raise ZeroDivisionError
            watched.set()
            await asyncio.Event().wait()

    care: Any = SimpleNamespace(workers=2)
    fleet = Watching(cast("Any", None), care, cast("Any", None), lambda slot, routed: None)
    fleet._workers = cast("Any", {0: None, 1: None})
    task = asyncio.create_task(fleet.watch())
    await asyncio.wait_for(watched.wait(), 10)
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_a_worker_says_about_its_start_counts_once() -> None:
    heard: list[int] = []
    worker = WorkerProcess(3, lambda slot, routed: heard.append(slot))
    worker._hear(Ready(routed=ROUTED))
    worker._hear(Failed(message="too late"))
    worker._hear(Ready(routed=ROUTED))
    assert heard == [3, 3]
    assert worker._answer.result().routed == ROUTED
    other = WorkerProcess(4, lambda slot, routed: None)
    other._hear(Failed(message="why"))
    other._hear(Ready(routed=ROUTED))
    with pytest.raises(ServingError, match="why"):
        other._answer.result()


async def test_a_defect_while_hearing_a_worker_does_not_make_it_deaf(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(slot: int, routed: Routed) -> None:
        raise ZeroDivisionError

    worker = WorkerProcess(0, broken)
    reader = asyncio.StreamReader()
    reader.feed_data(Ready(routed=ROUTED).model_dump_json().encode() + b"\n")
    reader.feed_data(Failed(message="why").model_dump_json().encode() + b"\n")
    reader.feed_eof()
    await worker._listen(reader)
    assert "defect while hearing a worker" in caplog.text
    with pytest.raises(ServingError, match="why"):
        worker._answer.result()
