"""Hands the calls that come to an event loop within a moment to the dispatcher together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from steersman.serving.deciding.call import Call
from steersman.serving.dispatching.dispatcher import Dispatcher, Outcome

WAIT_S = 1e-3
"""How long to wait for company, if the last batch had some: grpcio hands over about one call a turn."""
FIRST_TRY, LAST_TRY = 16, 1024
"""After how many calls that came alone it is tried whether waiting brings company."""


class Patience:
    """Whether it is worth waiting for company, learned from the batches so far.

    While calls come together it is. When one was alone it is not, or a single caller would pay for nothing.
    But as long as nobody waits nobody is seen to come together, so now and then it is tried, the more seldom
    the oftener that was in vain.
    """

    def __init__(self) -> None:
        self._had_company = False
        self._alone = 0
        self._try_after = FIRST_TRY

    @property
    def waits(self) -> bool:
        """Whether the next batch shall wait."""
        return self._had_company or self._alone >= self._try_after

    def learn(self, calls: int) -> None:
        """A batch had so many calls."""
        tried = self.waits
        self._had_company = calls > 1
        self._alone = 0 if self._had_company or tried else self._alone + 1
        if self._had_company:
            self._try_after = FIRST_TRY
        elif tried:
            self._try_after = min(2 * self._try_after, LAST_TRY)


class Batcher:
    """Collects calls on one event loop and has them decided in one go.

    A call that comes alone is decided in the loop's next turn; while calls come together, they wait a
    moment for each other.

    Args:
        dispatcher: What decides them, on the loop's thread or on others.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self._calls: list[Call] = []
        self._futures: list[asyncio.Future[Outcome]] = []
        self._patience = Patience()

    def submit(self, call: Call) -> asyncio.Future[Outcome]:
        """A future of the call's decisions, or of the error that it met."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        if not self._calls:
            if self._patience.waits:
                loop.call_later(WAIT_S, self._flush, loop)
            else:
                loop.call_soon(self._flush, loop)
        self._calls.append(call)
        self._futures.append(future)
        return future

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        calls, futures = self._calls, self._futures
        self._calls, self._futures = [], []
        self._patience.learn(len(calls))
        kept = [place for place, future in enumerate(futures) if not future.done()]
        if not kept:
            return
        sink = _Futures(loop, [futures[place] for place in kept])
        try:
            self.dispatcher.submit([calls[place] for place in kept], sink)
        except Exception as error:  # noqa: BLE001  a defect must reach every caller that waits, not the loop
            sink.fail(error)


class _Futures:
    """Where outcomes go: to the futures of one batch."""

    def __init__(self, loop: asyncio.AbstractEventLoop, futures: Sequence[asyncio.Future[Outcome]]) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._futures = futures

    def reply(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        if threading.get_ident() == self._thread:
            self._settle(places, outcomes)
        else:
            self._loop.call_soon_threadsafe(self._settle, places, outcomes)

    def wanted(self, place: int) -> bool:
        return not self._futures[place].done()

    def fail(self, error: Exception) -> None:
        for future in self._futures:
            if not future.done():
                future.set_exception(error)

    def _settle(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        for place, outcome in zip(places, outcomes, strict=True):
            if not self._futures[place].done():
                self._futures[place].set_result(outcome)
