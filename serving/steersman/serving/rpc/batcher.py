"""Hands the calls that wait in one tick of the event loop to the engine together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from steersman.serving.call import Call
from steersman.serving.decision import Decisions
from steersman.serving.engine import Engine
from steersman.serving.errors import CallError, Code

Outcome = Decisions | CallError


class Batcher:
    """Collects calls until the loop's next tick and decides them in one go.

    Args:
        engine: The decision core; it runs on the loop's thread.
        count_call: Told the method and the failure (None for success) of every finished call.
    """

    def __init__(self, engine: Engine, count_call: Callable[[str, Code | None], None]) -> None:
        self.engine = engine
        self.count_call = count_call
        self._waiting: list[tuple[Call, asyncio.Future[Outcome]]] = []

    def submit(self, call: Call) -> asyncio.Future[Outcome]:
        """A future of the call's decisions, or of the error that it met."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((call, future))
        return future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            outcomes = self.engine.decide([call for call, _ in waiting])
        except Exception as error:  # noqa: BLE001  a defect must reach every caller that waits, not the loop
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), outcome in zip(waiting, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)
