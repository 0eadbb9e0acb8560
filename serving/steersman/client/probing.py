"""A connection to ask a server what it speaks, made after it has closed one without saying why.

Nothing is sent over it but how TLS begins: no call, no token, no certificate. What comes back is read as far
as it is plain: whether it is TLS at all, and whether the server asks for a certificate of the client.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from dataclasses import dataclass

from steersman.client.mistakes import Mistake, is_unclear, read_mistake

LONGEST = 1.0
"""Seconds that a server gets to show what it speaks."""

_ALERT, _HANDSHAKE = b"\x15", b"\x16"  # types of TLS records
_CERTIFICATE_REQUEST, _SERVER_HELLO_DONE = 13, 14  # types of handshake messages
_MOST_BYTES = 65_536

_ADDRESS = re.compile(
    r"(?:dns:(?://[^/]*/)?|ipv4:|ipv6:)?(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:/,]+)):(?P<port>\d+)"
)


@dataclass(frozen=True, slots=True)
class Speaks:
    """What a client speaks.

    Attributes:
        tls: Whether it is TLS.
        certificate: Whether it shows a certificate of its own, or may do so.
    """

    tls: bool = False
    certificate: bool = False


def find_mistake(details: str, target: str, client: Speaks, seconds: float = LONGEST) -> Mistake | None:
    """What is wrong with TLS between this client and a server, as far as it can be told.

    Args:
        details: gRPC's words for UNAVAILABLE.
        target: Address of the server.
        client: What the client speaks.
        seconds: How long the server may be asked at most.
    """
    if (found := read_mistake(details)) is not None:
        return found
    return examine(target, client, seconds) if is_unclear(details) else None


def examine(target: str, client: Speaks, seconds: float = LONGEST) -> Mistake | None:
    """Asks the server itself; None where it is gone, or would talk to this client. Blocks.

    Args:
        target: Its address.
        client: What the client speaks.
        seconds: How long it may take at most.
    """
    address = _ADDRESS.fullmatch(target)
    if address is None:  # a socket file, or several addresses
        return None
    host = address["v6"] or address["host"]
    try:
        with socket.create_connection((host, int(address["port"])), seconds) as connection:
            connection.sendall(_client_hello(host))
            answer = _first_answer(connection, time.monotonic() + seconds)
    except (OSError, ValueError):  # a name that is none is a ValueError
        return None
    return _verdict(answer, client) if answer else None


def _verdict(answer: bytes, client: Speaks) -> Mistake | None:
    """What the beginning of a server's answer to TLS means for a client that it did not talk to."""
    if answer[:1] not in {_ALERT, _HANDSHAKE}:
        return Mistake.SPEAKS_PLAIN if client.tls else None
    if not client.tls:
        return Mistake.WANTS_TLS
    if _CERTIFICATE_REQUEST not in _message_types(answer):
        return None
    return Mistake.REFUSES_CERTIFICATE if client.certificate else Mistake.NO_CERTIFICATE


def _client_hello(host: str) -> bytes:
    """How TLS 1.2 begins; of its answer, unlike that of 1.3, all is readable that is of interest."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host).do_handshake()
    return outgoing.read()


def _first_answer(connection: socket.socket, ends: float) -> bytes:
    """What the server says until it waits for the client, or as much as it said in time."""
    answer = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while len(answer) < _MOST_BYTES and _goes_on(answer) and (left := ends - time.monotonic()) > 0:
            connection.settimeout(left)
            part = connection.recv(_MOST_BYTES)
            if not part:
                break
            answer += part
    return answer


def _goes_on(answer: bytes) -> bool:
    return not answer or (answer[:1] == _HANDSHAKE and _SERVER_HELLO_DONE not in _message_types(answer))


def _message_types(answer: bytes) -> set[int]:
    """The types of the handshake messages in it (RFC 5246, sections 6.2.1 and 7.4)."""
    messages = b""
    while len(answer) >= 5 and answer[:1] == _HANDSHAKE:
        end = 5 + int.from_bytes(answer[3:5])
        messages += answer[5:end]
        answer = answer[end:]
    types = set()
    while len(messages) >= 4:
        types.add(messages[0])
        messages = messages[4 + int.from_bytes(messages[1:4]) :]
    return types
