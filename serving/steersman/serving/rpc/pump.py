"""Drives one stream: reads on while earlier calls are decided, and answers each as it is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from steersman.serving.deciding.call import Call
from steersman.serving.dispatching.dispatcher import Outcome
from steersman.serving.errors import CallError, Code
from steersman.serving.rpc.methods import StreamSession

Read = Callable[[], Awaitable[bytes | None]]
Write = Callable[[bytes], Awaitable[None]]
Submit = Callable[[Call, int], "asyncio.Future[Outcome]"]
Finished = tuple[Any, "asyncio.Future[Outcome]"]


class StreamPump:
    """One stream.

    Args:
        session: Its logic.
        submit: Has calls decided; is told the bytes of their requests, too.
        count: Told the failure (None for success) of every answer.
        most: Most calls in flight; then the stream is not read until an answer has been taken.
        ordered: Whether answers go out in the order of their requests.
    """

    def __init__(
        self,
        session: StreamSession,
        submit: Submit,
        count: Callable[[Code | None], None],
        *,
        most: int,
        ordered: bool = False,
    ) -> None:
        self._session = session
        self._submit = submit
        self._count = count
        self._room = asyncio.Semaphore(most)
        self._ordered = ordered
        self._answers: asyncio.Queue[Finished | None] = asyncio.Queue()
        self._pending: set[asyncio.Future[Outcome]] = set()
        self._read_all = False

    async def run(self, read: Read, write: Write) -> None:
        """Until the caller has sent all and has had all answers. `read` gives None at the end."""
        reading = asyncio.create_task(self._reads(read))
        try:
            while (finished := await self._answers.get()) is not None:
                request, future = finished
                payload, failed = self._session.answer(request, await future)
                await write(payload)
                self._count(failed.code if failed else None)
                self._room.release()
            await reading
        finally:
            reading.cancel()
            for future in self._pending:
                future.cancel()

    async def _reads(self, read: Read) -> None:
        try:
            await self._room.acquire()
            while (payload := await read()) is not None:
                self._take(payload)
                await self._room.acquire()
        finally:
            self._read_all = True
            self._end_if_done()

    def _take(self, payload: bytes) -> None:
        request, call = self._session.read(payload)
        if isinstance(call, CallError):
            future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            future.set_result(call)
        else:
            future = self._submit(call, len(payload))
        if self._ordered:
            self._answers.put_nowait((request, future))
        self._pending.add(future)
        future.add_done_callback(partial(self._ready, request))

    def _ready(self, request: Any, future: asyncio.Future[Outcome]) -> None:
        self._pending.discard(future)
        if not self._ordered and not future.cancelled():
            self._answers.put_nowait((request, future))
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._read_all and not self._pending:
            self._answers.put_nowait(None)
