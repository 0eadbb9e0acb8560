"""The grpcio transport: `PolicyService`, health and reflection on one asyncio server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc
import grpc.aio
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from steersman.serving.errors import ServingError
from steersman.serving.routing import RoutingTable
from steersman.serving.rpc.batcher import Batcher
from steersman.serving.rpc.servicer import PolicyServicer
from steersman.v1 import policy_pb2
from steersman.v1 import policy_pb2_grpc as rpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = policy_pb2.DESCRIPTOR.services_by_name["PolicyService"].full_name


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Several workers share one port (SO_REUSEPORT)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class GrpcioServer:
    """A gRPC server of this process.

    Health: the empty service and `PolicyService` are SERVING while the server takes calls, each policy (by
    its name) while it has a loaded version.
    """

    def __init__(self, batcher: Batcher, address: Address, max_message_bytes: int) -> None:
        self._server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
            )
        )
        self._health = health_aio.HealthServicer()
        rpc.add_PolicyServiceServicer_to_server(PolicyServicer(batcher), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        try:
            self._server.add_insecure_port(str(address))
        except RuntimeError as error:
            raise ServingError(f"cannot listen on {address}", where=str(address)) from error

    async def start(self, routing: RoutingTable) -> None:
        """Takes calls."""
        await self.show(routing)
        await self._server.start()

    async def show(self, routing: RoutingTable) -> None:
        """Makes health tell what the routing table can answer."""
        for service in ("", SERVICE):
            await self._health.set(service, SERVING)
        for name, policy in routing.policies.items():
            await self._health.set(name, SERVING if policy.lanes else NOT_SERVING)

    async def stop(self, lame_duck_s: float, grace_s: float) -> None:
        """Says NOT_SERVING, goes on for a while so that balancers notice, then finishes what is in flight."""
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(lame_duck_s)
        await self._server.stop(grace_s)
