"""Methods as grpcio's asyncio server wants them. Requests and answers stay bytes."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns
from typing import Any, NoReturn

import grpc
import grpc.aio

from steersman.serving.deciding.call import Call
from steersman.serving.dispatching.dispatcher import Outcome
from steersman.serving.errors import CallError, Code
from steersman.serving.rpc.batcher import Batcher
from steersman.serving.rpc.methods import (
    DecisionMethod,
    Method,
    RequestDetails,
    StreamMethod,
    UnaryMethod,
    defect,
)
from steersman.serving.rpc.pump import StreamPump
from steersman.serving.rpc.reception import Reception
from steersman.serving.rpc.status import STATUS, trailing_metadata

Context = grpc.aio.ServicerContext[bytes, bytes]
Answer = Callable[[bytes, RequestDetails], Awaitable[bytes]]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Handlers:
    """Makes handlers.

    Attributes:
        reception: What becomes of calls.
        batcher: Has them decided, those of a moment together.
    """

    reception: Reception
    batcher: Batcher

    def generic(self, methods: Iterable[Method]) -> tuple[grpc.GenericRpcHandler[Any, Any], ...]:
        """Handlers of all methods, service by service."""
        services: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        for method in methods:
            service, _, name = method.path[1:].partition("/")
            services[service][name] = self._handler(method)
        return tuple(grpc.method_handlers_generic_handler(name, found) for name, found in services.items())

    def _handler(self, method: Method) -> Any:
        match method:
            case StreamMethod():
                return grpc.stream_stream_rpc_method_handler(partial(self._stream, method))
            case DecisionMethod():
                return grpc.unary_unary_rpc_method_handler(
                    partial(self._unary, method.name, partial(self._decide, method))
                )
            case UnaryMethod():
                return grpc.unary_unary_rpc_method_handler(
                    partial(self._unary, method.name, partial(_answer, method))
                )

    async def _unary(self, name: str, answer: Answer, payload: bytes, context: Context) -> bytes:
        """One call: admitted, answered, counted. Whatever is not a `CallError` is a defect."""
        if (full := self.reception.admission.enter(len(payload))) is not None:
            await self._abort(name, full, context)
        try:
            encoded = await answer(payload, _details(context))
        except CallError as error:
            await self._abort(name, error, context)
        except asyncio.CancelledError:
            self.reception.count(name, _why_cancelled(context))
            raise
        except Exception:
            log.exception("defect while answering a call", extra={"method": name})
            await self._abort(name, defect(), context)
        finally:
            self.reception.admission.leave(1, len(payload))
        self.reception.count(name, None)
        return encoded

    async def _decide(self, method: DecisionMethod, payload: bytes, details: RequestDetails) -> bytes:
        request, call = method.decode(payload, details)
        answer = method.encode(await self.batcher.submit(call), request)
        if isinstance(answer, CallError):
            raise answer
        return answer

    async def _stream(self, method: StreamMethod, _: Any, context: Context) -> None:
        if (full := self.reception.admission.enter()) is not None:
            await self._abort(method.name, full, context)
        try:
            session = method.open(_details(context))
            count = partial(self.reception.count, method.name)
            pump = StreamPump(
                session,
                self._submit,
                count,
                most=self.reception.limits.max_stream_calls,
                ordered=method.ordered,
            )
            await pump.run(partial(_read, context), context.write)
        except Exception:
            if context.done():  # the caller is gone: nobody to tell
                raise
            log.exception("defect while answering a stream", extra={"method": method.name})
            await self._abort(method.name, defect(), context)
        finally:
            self.reception.admission.leave()

    def _submit(self, call: Call, size: int) -> asyncio.Future[Outcome]:
        """A call of a stream: each of them needs room, too."""
        if (full := self.reception.admission.enter(size)) is not None:
            refused: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            refused.set_result(full)
            return refused
        future = self.batcher.submit(call)
        future.add_done_callback(lambda _: self.reception.admission.leave(1, size))
        return future

    async def _abort(self, name: str, error: CallError, context: Context) -> NoReturn:
        self.reception.count(name, error.code)
        await context.abort(STATUS[error.code], error.message, trailing_metadata(error))


async def _answer(method: UnaryMethod, payload: bytes, details: RequestDetails) -> bytes:
    return method.answer(payload, details)


async def _read(context: Context) -> bytes | None:
    message: Any = await context.read()
    return message if isinstance(message, bytes) else None  # else it is EOF


def _details(context: Context) -> RequestDetails:
    metadata = tuple((key, value) for key, value in context.invocation_metadata() or ())
    return RequestDetails(metadata, context.peer(), context.time_remaining(), perf_counter_ns())


def _why_cancelled(context: Context) -> Code:
    """The library cancels handlers when callers give up and when their deadlines pass."""
    remaining: float | None = context.time_remaining()
    return Code.DEADLINE_EXCEEDED if remaining is not None and remaining <= 0 else Code.CANCELLED
