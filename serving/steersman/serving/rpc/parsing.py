"""Services of generated code whose requests may be anything.

Of bytes that are no message, the library says UNKNOWN and logs a traceback each time; it is the caller's
mistake, and nobody shall fill the log with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from steersman.serving.errors import CallError, invalid
from steersman.serving.rpc.status import STATUS, trailing_metadata

Handler = Any
"""A method's handler; the stubs have no common type for its kinds."""


def parsing(server: grpc.aio.Server) -> grpc.aio.Server:
    """What generated code adds a service to in place of the server, so that requests are parsed here."""
    return cast("grpc.aio.Server", _ParsingServer(server))


@dataclass(frozen=True, slots=True)
class _ParsingServer:
    server: grpc.aio.Server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler[Any, Any]]) -> None:
        self.server.add_generic_rpc_handlers(tuple(map(_Parsing, handlers)))

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Handler]) -> None:
        pass  # the same once more, which asyncio servers have no use for


class _Parsing(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # it is no generic class at run time
    """Finds another's handlers, and parses for them."""

    def __init__(self, found_by: grpc.GenericRpcHandler[Any, Any]) -> None:
        self._found_by = found_by

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        found: Handler = self._found_by.service(handler_call_details)
        if found is None or found.request_streaming:
            return found
        if found.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                partial(_stream, found), response_serializer=found.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            partial(_unary, found), response_serializer=found.response_serializer
        )


async def _unary(handler: Handler, payload: bytes, context: Any) -> Any:
    return await handler.unary_unary(await _parsed(handler.request_deserializer, payload, context), context)


async def _stream(handler: Handler, payload: bytes, context: Any) -> None:
    """Of a method that writes to its context, as those of asyncio's health service do."""
    await handler.unary_stream(await _parsed(handler.request_deserializer, payload, context), context)


async def _parsed(parse: Callable[[bytes], Any], payload: bytes, context: Any) -> Any:
    try:
        return parse(payload)
    except DecodeError:
        message = "the request is not what this method takes; expected protocol buffers of its type"
        await _abort(invalid("malformed_message", message), context)


async def _abort(error: CallError, context: Any) -> NoReturn:
    await context.abort(STATUS[error.code], error.message, trailing_metadata(error))
    raise AssertionError  # abort never returns
