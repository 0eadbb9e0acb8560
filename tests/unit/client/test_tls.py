"""Mistakes in TLS: each is told for what it is, at once, whatever gRPC says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from grpc import StatusCode

from steersman.client import ServerUnavailableError, TlsError
from support.certificates import HOUR, Authority, Pem
from support.tls_servers import listening
from unit.client.conftest import Kit

AUTHORITY, STRANGER = Authority(), Authority("stranger")
ELSEWHERE = (x509.DNSName("elsewhere.example"),)
ROBOT = AUTHORITY.issue("robot")


SERVER = AUTHORITY.issue("server")
OLD = AUTHORITY.issue("server", begins=-2 * HOUR, ends=-HOUR)
LATER = AUTHORITY.issue("server", begins=HOUR, ends=2 * HOUR)
NAMED = AUTHORITY.issue("server", alternatives=ELSEWHERE)
BELIEVES: dict[str, Any] = {"ca": AUTHORITY.pem}


def shows(pem: Pem) -> dict[str, Any]:
    return {**BELIEVES, "certificate": pem.certificate, "key": pem.key}


MISTAKES: dict[str, tuple[Pem | None, bytes | None, dict[str, Any], str, str]] = {
    "plain text to a TLS port": (SERVER, None, {}, "tls_wanted", "speaks TLS.* give ca="),
    "plain text to an mTLS port": (SERVER, AUTHORITY.pem, {}, "tls_wanted", "speaks TLS"),
    "TLS to a plain port": (None, None, BELIEVES, "tls_not_spoken", "does not speak TLS.* leave out ca="),
    "another authority": (SERVER, None, {"ca": STRANGER.pem}, "tls_server_untrusted", "give ca= with"),
    "another name": (NAMED, None, BELIEVES, "tls_server_name", "for another name.*subjectAltName"),
    "an expired certificate": (OLD, None, BELIEVES, "tls_server_expired", "expired.*renew it"),
    "a certificate for later": (LATER, None, BELIEVES, "tls_server_expired", "for later"),
    "no certificate of its own": (
        SERVER,
        AUTHORITY.pem,
        BELIEVES,
        "tls_client_certificate_missing",
        "this client has none; give certificate= and key=",
    ),
    "an authority that is none": (SERVER, None, {"ca": b"no PEM"}, "tls_files", "give PEM"),
}


@pytest.mark.parametrize(
    ("pem", "client_ca", "given", "reason", "said"), MISTAKES.values(), ids=MISTAKES.keys()
)
def test_a_mistake_is_told_at_the_first_attempt(
    kit: Kit,
    pem: Pem | None,
    client_ca: bytes | None,
    given: dict[str, Any],
    reason: str,
    said: str,
) -> None:
    with listening(pem, client_ca) as address:
        client = kit.connect(address, timeout=30.0, **given)
        for ask in (lambda: client.describe("gate"), client.wait_until_ready):
            with pytest.raises(TlsError, match=said) as raised:
                kit.wait(ask())
            assert (raised.value.code, raised.value.reason) == (StatusCode.UNAVAILABLE, reason)
            assert raised.value.retryable is False
            assert address in raised.value.message
    assert kit.world.sleeps == []


@pytest.mark.parametrize(
    "shown",
    [
        AUTHORITY.issue("robot", begins=-2 * HOUR, ends=-HOUR),
        STRANGER.issue("robot"),
    ],
    ids=["expired", "of another authority"],
)
def test_a_certificate_that_is_refused_may_be_a_server_that_ends_so_it_is_tried_again(
    kit: Kit, shown: Pem
) -> None:
    with listening(SERVER, AUTHORITY.pem) as address:
        client = kit.connect(address, timeout=30.0, retries=2, **shows(shown))
        with pytest.raises(TlsError, match="tls_client_ca, and not expired") as raised:
            kit.wait(client.describe("gate"))
    assert raised.value.reason == "tls_client_certificate_refused"
    assert len(kit.world.sleeps) == 2


def test_another_replica_is_asked_all_the_same(kit: Kit) -> None:
    with listening(SERVER) as wrong:
        client = kit.connect([wrong, kit.target], timeout=30.0)
        for _ in range(3):
            assert kit.wait(client.describe("gate")).policy == "gate"
    assert kit.world.sleeps == []


def test_waiting_for_several_replicas_says_what_hinders_it(kit: Kit) -> None:
    with listening(SERVER) as first, listening(SERVER) as second:
        client = kit.connect([first, second])
        with pytest.raises(ServerUnavailableError, match=r"not ready within 0.2 s: .* speaks TLS"):
            kit.wait(client.wait_until_ready(0.2))
        patient = kit.connect([first, kit.target])
        kit.wait(patient.wait_until_ready(30.0))


def test_what_is_right_works(kit: Kit) -> None:
    with listening(SERVER, AUTHORITY.pem) as address:
        client = kit.connect(address, timeout=30.0, **shows(ROBOT))
        with pytest.raises(Exception, match="does not offer"):
            kit.wait(client.describe("gate"))


def test_a_stream_tells_it_too(kit: Kit) -> None:
    known = kit.wait(kit.client.describe("gate"))
    with listening(SERVER) as address:
        client = kit.connect(address, timeout=30.0)
        client._calls.descriptions["gate"] = known
        stream = client.stream()
        kit.enter(stream)
        with pytest.raises(TlsError, match="speaks TLS"):
            kit.wait(stream.act("gate", [0.0] * 4))
        kit.leave(stream)


def test_a_server_is_not_looked_at_by_every_call(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    from steersman.client import wires

    looks: list[str] = []
    examine: Callable[..., Any] = wires.examine

    def counted(target: str, *rest: Any) -> Any:
        looks.append(target)
        return examine(target, *rest)

    monkeypatch.setattr(wires, "examine", counted)
    with listening(SERVER) as address:
        client = kit.connect(address, timeout=30.0)
        for _ in range(3):
            with pytest.raises(TlsError):
                kit.wait(client.describe("gate"))
        kit.world.sleep(1.0)
        with pytest.raises(TlsError):
            kit.wait(client.describe("gate"))
    assert looks == [address] * 2


def test_nobody_there_stays_what_it_was(kit: Kit) -> None:
    client = kit.connect("127.0.0.1:1", timeout=30.0, retries=1, **BELIEVES)
    with pytest.raises(ServerUnavailableError, match="no server answers") as raised:
        kit.wait(client.describe("gate"))
    assert not isinstance(raised.value, TlsError)
    assert len(kit.world.sleeps) == 1
