"""The grpcio transport: all methods, health and reflection on one asyncio server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import grpc
import grpc.aio
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.errors import Code
from steersman.serving.limits import Limits
from steersman.serving.messages import TlsFiles
from steersman.serving.rpc.handlers import Handlers
from steersman.serving.rpc.methods import Method
from steersman.serving.rpc.oip.reflection import BothPools
from steersman.serving.rpc.parsing import parsing
from steersman.serving.rpc.security import Gate
from steersman.serving.rpc.tls import listen
from steersman.serving.security.access import AccessList

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
KEEPALIVE_MS = 60_000
KEEPALIVE_TIMEOUT_MS = 20_000
MAX_STREAMS = 1024
MAX_PENDING = 16_384
"""Calls that the library holds until the event loop takes them, before it begins to cancel some, anybody's.
By itself it does so from 1,000 on, which one connection that floods reaches."""
POLL_S = 0.01
FLUSH_S = 0.2
"""The last answers were given, but may still be on their way to the socket."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Several workers share one port (SO_REUSEPORT)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket file to listen at."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class GrpcioServer:
    """A gRPC server of this process.

    Health: the empty service and every service of `methods` are SERVING while the server takes calls, each
    policy (by its name) while it has a loaded version.

    Args:
        methods: What is offered.
        handlers: Makes their handlers.
        address: Where to listen.
        limits: How much it takes.
        access: Who may call; None for everybody.
        tls: Files of TLS; None for plain text.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        handlers: Handlers,
        address: Address | UnixAddress,
        limits: Limits,
        *,
        access: AccessList | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        self._names = {method.path: method.name for method in methods}
        self._count = handlers.reception.count
        self._admission = handlers.reception.admission
        self._gate = None if access is None else Gate(access, self._refused)
        self._server = grpc.aio.server(
            interceptors=[self._gate] if self._gate else None, options=_options(limits)
        )
        self._health = health_aio.HealthServicer()
        self._services = sorted({method.path[1:].partition("/")[0] for method in methods})
        self._server.add_generic_rpc_handlers(handlers.generic(methods))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, parsing(self._server))
        reflection.enable_server_reflection(
            (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME),
            self._server,
            cast("DescriptorPool", BothPools()),
        )
        listen(self._server, str(address), tls)

    async def start(self, routing: RoutingTable) -> None:
        """Takes calls."""
        await self.show(routing)
        await self._server.start()

    async def show(self, routing: RoutingTable) -> None:
        """Makes health tell what the routing table can answer."""
        for service in ("", *self._services):
            await self._health.set(service, SERVING)
        for name, policy in routing.policies.items():
            await self._health.set(name, SERVING if policy.lanes else NOT_SERVING)

    def admit(self, access: AccessList) -> None:
        """Other callers are known from now on."""
        if self._gate is not None:
            self._gate.replace(access)

    def _refused(self, path: str, code: Code) -> None:
        if (name := self._names.get(path)) is not None:
            self._count(name, code)

    async def leave(self, lame_duck_s: float) -> None:
        """Says NOT_SERVING, and goes on for a while so that balancers notice."""
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(lame_duck_s)

    async def stop(self, grace_s: float) -> None:
        """Takes no new calls and finishes what is in flight, for at most so long.

        Who only watches health would use up the grace: the library waits for every stream.
        """
        stopping = asyncio.create_task(self._server.stop(grace_s))
        while self._admission.in_flight and not stopping.done():  # noqa: ASYNC110  any thread counts there
            await asyncio.sleep(POLL_S)
        await asyncio.wait((stopping,), timeout=FLUSH_S)
        await self._server.stop(None)
        await stopping


def _options(limits: Limits) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.server.max_pending_requests", MAX_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_PENDING),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
    )
