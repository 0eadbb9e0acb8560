"""All that answers gRPC in a worker: the grpcio server, and the native front before it where chosen."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.errors import ServingError
from steersman.serving.messages import TlsFiles, TransportKind
from steersman.serving.rpc.batcher import Batcher
from steersman.serving.rpc.handlers import Handlers
from steersman.serving.rpc.methods import Method, StreamMethod
from steersman.serving.rpc.native import NativeServer
from steersman.serving.rpc.native_front import open_front
from steersman.serving.rpc.reception import Reception
from steersman.serving.rpc.server import Address, GrpcioServer, UnixAddress
from steersman.serving.security.access import AccessList

MOST_PATH = 100
"""Bytes of a socket file's path that every system takes."""
PREFIX = "steersman-"


class Transports:
    """One port, answered by whatever was chosen.

    Args:
        kind: The transport of unary methods.
        methods: What is offered.
        reception: What becomes of calls.
        address: The port.
        folder: A private folder for the socket file between the transports; one of its own if left out, or if
            the path is too long for one.
        access: Who may call; None for everybody. The native transport does not ask.
        tls: Files of TLS; None for plain text. The native transport has none.

    Raises:
        ServingError: The port cannot be listened on.
    """

    def __init__(
        self,
        kind: TransportKind,
        methods: Sequence[Method],
        reception: Reception,
        address: Address,
        *,
        folder: Path | None = None,
        access: AccessList | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        handlers = Handlers(reception, Batcher(reception.dispatcher))
        self._native: NativeServer | None = None
        self._folder = ExitStack()
        where: Address | UnixAddress = address
        if kind == "native":
            if access is not None or tls is not None:  # nobody may get past what is asked of callers
                raise ServingError("the native transport has neither TLS nor tokens", where=str(address))
            where = UnixAddress(_socket_path(folder) or _own_socket_path(self._folder))
            unary = [method for method in methods if not isinstance(method, StreamMethod)]
            self._native = NativeServer(open_front(unary, address, where.path), unary, reception)
        self._grpcio = GrpcioServer(methods, handlers, where, reception.limits, access=access, tls=tls)

    async def start(self, routing: RoutingTable) -> None:
        """Takes calls."""
        await self._grpcio.start(routing)
        if self._native is not None:
            self._native.start()

    async def show(self, routing: RoutingTable) -> None:
        """Makes health tell what the routing table can answer."""
        await self._grpcio.show(routing)

    def admit(self, access: AccessList) -> None:
        """Other callers are known from now on."""
        self._grpcio.admit(access)

    async def drain(self, lame_duck_s: float, grace_s: float) -> None:
        """Says NOT_SERVING, goes on for a while, then refuses new calls and finishes those in flight."""
        await self._grpcio.leave(lame_duck_s)
        if self._native is None:
            await self._grpcio.stop(grace_s)
        else:
            self._native.refuse()
            closing = asyncio.to_thread(self._native.close, grace_s)
            await asyncio.gather(self._grpcio.stop(grace_s), closing)
        self._folder.close()

    def turned_ns(self) -> int:
        """When every thread that takes calls had last shown that it turns, `time.monotonic_ns`.

        To be asked on the event loop, which shows its own turning by that.
        """
        now = time.monotonic_ns()
        return now if self._native is None else min(now, self._native.turned_ns)


def _socket_path(folder: Path | None) -> str:
    """The socket file of this process in a folder; empty where there can be none."""
    path = "" if folder is None else str(folder / f"grpcio-{os.getpid()}")
    return path if len(path.encode()) <= MOST_PATH else ""


def _own_socket_path(stack: ExitStack) -> str:
    """A socket file in a new folder that only this user can look into. `/tmp` is short enough for any."""
    path = _socket_path(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX))))
    return path or str(
        Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir="/tmp"))) / "grpcio"
    )
