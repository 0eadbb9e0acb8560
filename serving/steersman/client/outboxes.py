"""The requests of a stream, as grpcio wants them: an iterator that blocks, or one that is awaited."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator
from typing import Self

from google.protobuf.message import Message


class BlockingOutbox:
    """An `Outbox` that a thread of grpcio reads."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    def put(self, message: Message) -> None:
        """Sends this next."""
        self._queue.put(message)

    def finish(self) -> None:
        """Nothing more comes."""
        self._queue.put(None)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        message = self._queue.get()
        if message is None:
            raise StopIteration
        return message


class AwaitedOutbox:
    """An `Outbox` that a task of grpcio reads."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()

    def put(self, message: Message) -> None:
        """Sends this next."""
        self._queue.put_nowait(message)

    def finish(self) -> None:
        """Nothing more comes."""
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Message]:
        while (message := await self._queue.get()) is not None:
            yield message
