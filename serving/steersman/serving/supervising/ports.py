"""Finding the gRPC port before any worker starts, and holding it so that all workers can share it."""

from __future__ import annotations

import socket

from steersman.serving.errors import ServingError


class HeldPort:
    """A TCP port that is bound but not listened on, so that workers can bind it too (SO_REUSEPORT).

    The kernel gives no connections to a socket that does not listen. Holding the port keeps its number
    (important for port 0) while workers come and go.

    Raises:
        ServingError: Somebody else listens there, or the address is not ours.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            _refuse_taken(family, address)
            self._socket = _shared(family)
            self._socket.bind(address)
        except OSError as error:
            raise ServingError(
                f"cannot listen for gRPC: {error.strerror}",
                where=f"{host}:{port}",
                hint="Choose another with --port; 0 picks a free one.",
            ) from None
        self.port: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Lets go of the port."""
        self._socket.close()


def _refuse_taken(family: int, address: object) -> None:
    """SO_REUSEPORT would join another server of the same user on its port; binding without it tells."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)  # type: ignore[arg-type]  # as getaddrinfo gives it


def _shared(family: int) -> socket.socket:
    shared = socket.socket(family, socket.SOCK_STREAM)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return shared
