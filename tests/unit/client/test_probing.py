"""What is made of a server's first answer to TLS, whatever it is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.client.mistakes import Mistake, is_unclear, read_mistake
from steersman.client.probing import Speaks, examine, find_mistake

PLAIN, TLS = Speaks(), Speaks(tls=True)
SHOWING = Speaks(tls=True, certificate=True)
SERVER_HELLO, CERTIFICATE_REQUEST, DONE = b"\x02\0\0\x01x", b"\x0d\0\0\x02xx", b"\x0e\0\0\0"
CLOSED = "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed"


@contextmanager
def saying(*answers: bytes, closes: bool = True) -> Iterator[str]:
    """A server that hears the first bytes of a connection, and says this in as many parts."""
    over = threading.Event()

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            with suppress(BrokenPipeError, ConnectionResetError):  # who has heard enough is gone
                for part in answers:
                    connection.sendall(part)
            if not closes:
                over.wait(20.0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join()


def record(*messages: bytes) -> bytes:
    """A TLS record of handshake messages."""
    content = b"".join(messages)
    return b"\x16\x03\x03" + len(content).to_bytes(2) + content


ALERT = b"\x15\x03\x03\0\x02\x02\x46"
ASKING = record(SERVER_HELLO, CERTIFICATE_REQUEST, DONE)
IN_PARTS = (ASKING[:7], ASKING[7:])
TWO_RECORDS = (record(SERVER_HELLO, CERTIFICATE_REQUEST[:3]), record(CERTIFICATE_REQUEST[3:], DONE))


@pytest.mark.parametrize(
    ("answers", "client", "expected"),
    [
        ((), PLAIN, None),
        ((), TLS, None),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), PLAIN, None),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), TLS, Mistake.SPEAKS_PLAIN),
        ((ALERT,), PLAIN, Mistake.WANTS_TLS),
        ((ALERT,), TLS, None),
        ((record(SERVER_HELLO, DONE),), PLAIN, Mistake.WANTS_TLS),
        ((record(SERVER_HELLO, DONE),), TLS, None),
        ((ASKING,), TLS, Mistake.NO_CERTIFICATE),
        ((ASKING,), SHOWING, Mistake.REFUSES_CERTIFICATE),
        (IN_PARTS, TLS, Mistake.NO_CERTIFICATE),
        (TWO_RECORDS, TLS, Mistake.NO_CERTIFICATE),
    ],
)
@pytest.mark.parametrize("closes", [True, False])
def test_the_first_answer_says_what_a_server_speaks(
    answers: tuple[bytes, ...], client: Speaks, expected: Mistake | None, closes: bool
) -> None:
    with saying(*answers, closes=closes) as address:
        assert examine(address, client, 20.0 if answers else 0.05) is expected


@given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from([PLAIN, TLS, SHOWING]))
@settings(max_examples=40, deadline=None)
def test_no_answer_does_harm(answers: list[bytes], client: Speaks) -> None:
    with saying(*answers) as address:
        examine(address, client, 20.0)


@pytest.mark.parametrize("scheme", ["dns:", "dns:///", "ipv4:"])
def test_an_address_may_have_a_scheme(scheme: str) -> None:
    with saying(ALERT) as address:
        assert examine(f"{scheme}{address}", PLAIN, 20.0) is Mistake.WANTS_TLS


@pytest.mark.parametrize("target", ["unix:/nowhere", "xds:///x", "127.0.0.1", "ipv4:1.2.3.4:5,1.2.3.5:6", ""])
def test_what_is_no_single_address_is_not_asked(target: str) -> None:
    assert examine(target, PLAIN) is None


def test_only_who_closed_the_connection_without_a_word_is_asked() -> None:
    with saying(ALERT) as address:
        assert find_mistake(CLOSED, address, PLAIN) is Mistake.WANTS_TLS
    assert find_mistake("failed to connect; Connection refused", address, PLAIN) is None
    assert find_mistake("x: CERTIFICATE_VERIFY_FAILED: y", address, TLS) is Mistake.UNTRUSTED
    assert not is_unclear("Socket closed")  # a connection that had worked
    assert read_mistake("Socket closed") is None


@pytest.mark.parametrize("mistake", Mistake)
def test_every_mistake_says_what_it_is_and_what_to_do(mistake: Mistake) -> None:
    assert "example:1" in mistake.what("example:1")
    assert mistake.remedy
