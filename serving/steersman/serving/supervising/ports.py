"""Ports: whether one is free, and holding that of gRPC so that all workers can share it."""

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
            raise cannot_listen("gRPC", host, port, "--port", error) from None
        self.port: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Lets go of the port."""
        self._socket.close()


def check_free(what: str, host: str, port: int, option: str) -> None:
    """Looks whether a port could be opened, for one that is opened later.

    Args:
        what: What is to listen there, in a word.
        host: Address.
        port: Port; 0 is always free.
        option: Option that chooses it.

    Raises:
        ServingError: Somebody else listens there, or the address is not ours.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        _refuse_taken(family, address)
    except OSError as error:
        raise cannot_listen(what, host, port, option, error) from None


def cannot_listen(what: str, host: str, port: int, option: str, error: OSError) -> ServingError:
    """The error for a port that cannot be opened."""
    return ServingError(
        f"cannot listen for {what}: {error.strerror}",
        where=f"{host}:{port}",
        hint=f"Choose another with {option}; 0 picks a free one.",
    )


def _refuse_taken(family: int, address: object) -> None:
    """SO_REUSEPORT would join another server of the same user on its port; binding without it tells."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)  # type: ignore[arg-type]  # as getaddrinfo gives it


def _shared(family: int) -> socket.socket:
    shared = socket.socket(family, socket.SOCK_STREAM)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return shared
