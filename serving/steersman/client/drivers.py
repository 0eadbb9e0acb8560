"""The two drivers: one performs a call's effects by blocking, the other by awaiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc import StatusCode

from steersman.client.effects import (
    Ambient,
    Effect,
    Examine,
    Next,
    Open,
    Park,
    Send,
    Spawn,
    Start,
    Steps,
    Tools,
    Wait,
)
from steersman.client.failures import CLOSED, Failure, read_failure
from steersman.client.outboxes import AwaitedOutbox, BlockingOutbox
from steersman.client.wires import Wire

T = TypeVar("T")

BLOCKING_TOOLS = Tools(threading.Event, BlockingOutbox)
AWAITING_TOOLS = Tools(asyncio.Event, AwaitedOutbox)


class BlockingDriver:
    """Performs effects on blocking channels."""

    def __init__(self, wire: Wire, ambient: Ambient) -> None:
        self._wire = wire
        self._sleep = ambient.sleep

    def run(self, steps: Steps[T]) -> T:
        """The result of a call."""
        reply = None
        try:
            while True:
                try:
                    effect = steps.send(reply)
                except StopIteration as end:
                    result: T = end.value
                    return result
                reply = self._perform(effect)
        finally:
            steps.close()  # at once, also when an exception came from outside: others may wait for them

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send():
                reply = self._unless_closed(self._call, effect)
            case Park():
                event: Any = effect.signal
                reply = event.wait(effect.seconds)
            case Wait():
                reply = None
                self._sleep(effect.seconds)
            case Start():
                reply = self._start(effect)
            case Open():
                reply = self._unless_closed(self._open, effect)
            case Next():
                reply = self._unless_closed(next, effect.stream, None)
            case Examine():
                reply = self._wire.examine(effect.replica, effect.seconds)
            case Spawn():
                reply = None
                threading.Thread(
                    target=self.run, args=(effect.steps,), name="steersman-client", daemon=True
                ).start()
        return reply

    def _unless_closed(self, perform: Callable[..., Any], *args: Any) -> Any:
        try:
            return perform(*args)
        except grpc.RpcError as error:
            return CLOSED if self._wire.closed else read_failure(error)
        except ValueError:  # how a closed channel says so
            if self._wire.closed:
                return CLOSED
            raise

    def _call(self, send: Send) -> Any:
        return self._make(self._wire.method(send.rpc, send.replica), send)

    def _begin(self, send: Send) -> Any:
        return self._make(self._wire.method(send.rpc, send.replica).future, send)

    def _make(self, method: Any, send: Send) -> Any:
        return method(
            send.request,
            timeout=send.timeout,
            metadata=self._wire.metadata(),
            wait_for_ready=send.wait_for_ready,
        )

    def _start(self, effect: Start) -> Any:
        started = self._unless_closed(self._begin, effect.send)
        if isinstance(started, Failure):
            effect.signal.set()
        else:
            started.add_done_callback(lambda _: effect.signal.set())
        return _BlockingAttempt(started)

    def _open(self, effect: Open) -> Any:
        requests: Any = effect.request if effect.outbox is None else effect.outbox
        return self._wire.method(effect.rpc, effect.replica)(
            requests, metadata=self._wire.metadata(), wait_for_ready=effect.wait_for_ready
        )


class _BlockingAttempt:
    """A future of grpcio, or the failure to begin one."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def done(self) -> bool:
        return isinstance(self._call, Failure) or self._call.done()

    def reply(self) -> Any:
        if isinstance(self._call, Failure):
            return self._call
        try:
            return self._call.result()
        except grpc.RpcError as error:
            return read_failure(error)
        except grpc.FutureCancelledError:
            return CLOSED

    def cancel(self) -> None:
        if not self.done():
            self._call.cancel()


class AwaitingDriver:
    """Performs effects on asyncio channels."""

    def __init__(self, wire: Wire, ambient: Ambient) -> None:
        self._wire = wire
        self._sleep = ambient.async_sleep
        self._spawned: set[asyncio.Task[None]] = set()

    async def run(self, steps: Steps[T]) -> T:
        """The result of a call."""
        reply = None
        try:
            while True:
                try:
                    effect = steps.send(reply)
                except StopIteration as end:
                    result: T = end.value
                    return result
                reply = await self._perform(effect)
        finally:
            steps.close()  # at once, also when the task is cancelled: others may wait for these steps

    async def close(self) -> None:
        """Ends what was spawned."""
        for task in self._spawned:
            task.cancel()
        await asyncio.gather(*self._spawned, return_exceptions=True)

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send():
                reply = await self._send(effect)
            case Park():
                reply = await self._park(effect)
            case Wait():
                reply = None
                await self._sleep(effect.seconds)
            case Start():
                reply = self._start(effect)
            case Open():
                reply = self._open(effect)
            case Next():
                reply = await self._next(effect.stream)
            case Examine():
                reply = await asyncio.to_thread(self._wire.examine, effect.replica, effect.seconds)
            case Spawn():
                reply = None
                self._spawn(effect.steps)
        return reply

    async def _send(self, send: Send) -> Any:
        try:
            return await self._wire.method(send.rpc, send.replica)(
                send.request,
                timeout=send.timeout,
                metadata=self._wire.metadata(),
                wait_for_ready=send.wait_for_ready,
            )
        except grpc.RpcError as error:
            return CLOSED if self._wire.closed else read_failure(error)
        except (grpc.aio.UsageError, asyncio.CancelledError):
            if self._ended_by_close():
                return CLOSED
            raise

    def _ended_by_close(self) -> bool:
        """Whether it is the channel that was closed, and not our task that is cancelled."""
        task = asyncio.current_task()
        return self._wire.closed and not (task and task.cancelling())

    @staticmethod
    async def _park(effect: Park) -> bool:
        event: Any = effect.signal
        try:
            async with asyncio.timeout(effect.seconds):
                await event.wait()
        except TimeoutError:
            return effect.signal.is_set()
        return True

    def _start(self, effect: Start) -> Any:
        task = asyncio.create_task(self._send(effect.send))
        task.add_done_callback(lambda _: effect.signal.set())
        return _AwaitedAttempt(task)

    def _open(self, effect: Open) -> Any:
        requests: Any = effect.request if effect.outbox is None else effect.outbox
        try:
            return self._wire.method(effect.rpc, effect.replica)(
                requests, metadata=self._wire.metadata(), wait_for_ready=effect.wait_for_ready
            )
        except grpc.aio.UsageError:
            return CLOSED

    async def _next(self, stream: Any) -> Any:
        try:
            message = await stream.read()
        except grpc.RpcError as error:
            return CLOSED if self._wire.closed else read_failure(error)
        except (grpc.aio.UsageError, asyncio.CancelledError):
            if self._ended_by_close():
                return CLOSED
            raise
        return message if isinstance(message, Message) else None  # otherwise grpc.aio.EOF

    def _spawn(self, steps: Steps[None]) -> None:
        task = asyncio.create_task(self.run(steps))
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)


class _AwaitedAttempt:
    """A task that makes a call."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def done(self) -> bool:
        return self._task.done()

    def reply(self) -> Any:
        return Failure(StatusCode.CANCELLED) if self._task.cancelled() else self._task.result()

    def cancel(self) -> None:
        self._task.cancel()
