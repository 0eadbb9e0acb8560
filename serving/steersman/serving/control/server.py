"""The control service's own listener. Here, and only here, its port is opened and its callers are judged."""

from __future__ import annotations

import grpc
import grpc.aio

from steersman.serving.control.requests import MAX_MESSAGE_BYTES
from steersman.serving.control.servicer import ControlServicer
from steersman.serving.errors import ServingError
from steersman.serving.messages import TlsFiles
from steersman.serving.rpc.parsing import parsing
from steersman.serving.rpc.security import Gate
from steersman.serving.rpc.tls import listen
from steersman.serving.security.access import AccessList
from steersman.v1 import control_pb2_grpc as rpc

MAX_STREAMS = 64
"""Calls in flight on one connection."""


class ControlServer:
    """Listens for control calls. Health and reflection are the data plane's.

    Args:
        servicer: Answers.
        host: Address.
        port: Port; 0 picks a free one.
        tls: Files of TLS; None for plain text.
        access: Who may call; None for everybody who reaches the port.

    Raises:
        ServingError: The port cannot be opened.
    """

    def __init__(
        self,
        servicer: ControlServicer,
        host: str,
        port: int,
        *,
        tls: TlsFiles | None,
        access: AccessList | None,
    ) -> None:
        self._gate = Gate(access) if access is not None else None
        self._server = grpc.aio.server(
            interceptors=[self._gate] if self._gate is not None else [],
            options=(
                ("grpc.so_reuseport", 0),  # two supervisors on one port would share its calls
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", MAX_STREAMS),
            ),
        )
        rpc.add_ControlServiceServicer_to_server(servicer, parsing(self._server))
        shown = f"[{host}]" if ":" in host else host
        try:
            found = listen(self._server, f"{shown}:{port}", tls)
        except ServingError as error:  # gRPC does not say why
            raise ServingError(
                f"the control service {error.what}; the port may be in use",
                where=f"{shown}:{port}",
                hint="Choose another with --control-port; 0 picks a free one.",
            ) from None
        self.address = f"{shown}:{found}"

    async def start(self) -> None:
        """Takes calls."""
        await self._server.start()

    def admit(self, access: AccessList) -> None:
        """Other callers are known from now on."""
        if self._gate is not None:
            self._gate.replace(access)

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls and lets those in flight finish."""
        await self._server.stop(grace_s)
