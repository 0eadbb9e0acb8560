"""The library below the native transport, set up as it is safe and fast."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from steersman.serving.errors import ServingError
from steersman.serving.rpc.methods import DecisionMethod, UnaryMethod
from steersman.serving.rpc.server import KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, Address

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

NativeMethod = DecisionMethod | UnaryMethod
MAX_STREAMS = 128
"""Per connection. Each may pin 4 MiB before anybody looks at it."""


def open_front(methods: Sequence[NativeMethod], address: Address, fallback: str) -> NativeGrpcFront:
    """A front that is bound, but does not take calls yet.

    Args:
        methods: What it answers itself.
        address: Where.
        fallback: Socket file of the server for everything else.

    Raises:
        ServingError: The address cannot be listened on.
    """
    from pygrpc_native import NativeGrpcFront  # noqa: PLC0415  only where this transport is used

    try:
        front = NativeGrpcFront(
            _resolved(address),
            [(method.path, False) for method in methods],
            io_threads=1,
            call_details=True,
            keepalive_time_ms=KEEPALIVE_MS,
            keepalive_timeout_ms=KEEPALIVE_TIMEOUT_MS,
            max_concurrent_streams=MAX_STREAMS,
            reuse_port=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ServingError(f"cannot listen on {address}: {error}", where=str(address)) from error
    front.set_fallback(fallback)
    return front


def _resolved(address: Address) -> str:
    """The library takes numbers only."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][4]
    except OSError as error:
        raise ServingError(f"cannot listen on {address}: {error.strerror}", where=str(address)) from None
    return str(Address(str(found[0]), int(found[1])))
