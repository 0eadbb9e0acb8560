"""Tokens and certificates: sent where they should be, and shown nowhere."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from steersman.client import (
    ClientError,
    InvalidRequestError,
    PermissionDeniedError,
    PolicyClient,
    UnauthenticatedError,
)
from support.certificates import Authority, Pem
from support.toy_server import Toy, toy_server
from unit.client.conftest import Kit

SECRET = "s3cret-token_for.tests~1"
OBSERVATION = [0.0, 1.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def theirs(authority: Authority) -> Pem:
    return authority.issue("server")


@pytest.fixture
def secured(toy: Toy, authority: Authority, theirs: Pem) -> Iterator[str]:
    """The address of a server that asks for certificates."""
    pair = [(theirs.key, theirs.certificate)]
    credentials = grpc.ssl_server_credentials(pair, authority.pem, require_client_auth=True)
    with toy_server(toy, credentials=credentials) as address:
        yield address


def test_a_token_goes_with_every_call(kit: Kit) -> None:
    kit.toy.tokens = {SECRET}
    client = kit.connect(token=SECRET)
    assert kit.wait(client.act("gate", OBSERVATION)).action == 11
    assert len(kit.wait(client.policies())) == 3
    stream = client.stream()
    assert kit.wait(stream.act("gate", OBSERVATION)).action == 11


def test_without_the_right_token_the_caller_is_told(kit: Kit) -> None:
    kit.toy.tokens = {"another"}
    for options in ({}, {"token": SECRET}):
        with pytest.raises(UnauthenticatedError, match="a token is needed") as raised:
            kit.wait(kit.connect(**options).act("gate", OBSERVATION))
        assert (raised.value.reason, raised.value.retryable) == ("token_unknown", False)
    kit.toy.tokens = set()
    kit.toy.fail(StatusCode.PERMISSION_DENIED)
    with pytest.raises(PermissionDeniedError):
        kit.wait(kit.client.act("gate", OBSERVATION))


def test_a_function_gives_the_present_token(kit: Kit) -> None:
    tokens = iter(["old", "new", "new"])
    kit.toy.tokens = {"new"}
    client = kit.connect(token=lambda: next(tokens))
    with pytest.raises(UnauthenticatedError):
        kit.wait(client.describe("gate"))
    assert kit.wait(client.act("gate", OBSERVATION)).action == 11


def test_a_function_that_fails_is_said_to_have_failed(kit: Kit) -> None:
    def broken() -> str:
        raise OSError(SECRET)

    with pytest.raises(ClientError, match="failed with OSError") as raised:
        kit.wait(kit.connect(token=broken).act("gate", OBSERVATION))
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("token", ["", "two words", "line\n", "ümlaut", 7])
def test_what_is_no_token_is_refused_and_not_shown(kit: Kit, token: Any) -> None:
    for given in (token, lambda: token):
        with pytest.raises(InvalidRequestError, match="RFC 6750") as raised:
            kit.wait(kit.connect(token=given).act("gate", OBSERVATION))
        if token:
            assert str(token) not in str(raised.value).replace("RFC 6750", "")


def everything_said(thing: Any) -> str:
    """What a debugger, a log or a traceback would show of it and of what it holds."""
    seen: dict[int, str] = {}

    def look(value: Any, depth: int) -> None:
        if id(value) in seen or depth > 6:
            return
        seen[id(value)] = f"{value!r} {value!s}"
        for name in [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]:
            held = getattr(value, name, None)
            if type(held).__module__.startswith("steersman.client"):
                look(held, depth + 1)

    look(thing, 0)
    return "\n".join(seen.values())


def test_a_token_is_shown_nowhere(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    kit.toy.tokens = {"another"}
    client = kit.connect(token=SECRET)
    assert SECRET not in everything_said(client)
    with pytest.raises(ClientError) as raised:
        kit.wait(client.act("gate", OBSERVATION))
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert SECRET not in caplog.text


@pytest.mark.parametrize("target", ["10.1.2.3:50051", "policies.example:443", ["127.0.0.1:1", "10.1.2.3:1"]])
def test_no_token_goes_to_another_host_unencrypted(kit: Kit, target: Any) -> None:
    with pytest.raises(InvalidRequestError, match="unencrypted") as raised:
        kit.connect(target, token=SECRET)
    assert SECRET not in str(raised.value)
    kit.connect(target, token=SECRET, allow_insecure_token=True)
    kit.connect(target, token=SECRET, credentials=grpc.ssl_channel_credentials())


def test_both_sides_prove_who_they_are(kit: Kit, secured: str, authority: Authority) -> None:
    ours = authority.issue("client")
    kit.toy.tokens = {SECRET}
    client = kit.connect(secured, ca=authority.pem, certificate=ours.certificate, key=ours.key, token=SECRET)
    assert kit.wait(client.act("gate", OBSERVATION)).action == 11


def test_certificates_may_be_files(kit: Kit, secured: str, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    certificate, key = authority.issue("client").write(tmp_path, "client")
    client = kit.connect(secured, ca=tmp_path / "ca.pem", certificate=str(certificate), key=key)
    assert kit.wait(client.act("gate", OBSERVATION)).action == 11


def test_a_server_of_another_authority_is_not_spoken_to(kit: Kit, secured: str) -> None:
    client = kit.connect(secured, ca=Authority("other").pem, token=SECRET, retries=0)
    with pytest.raises(ClientError):
        kit.wait(client.act("gate", OBSERVATION))
    assert kit.toy.requests == []


def test_options_that_contradict_each_other_are_refused(kit: Kit, theirs: Pem, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="belong together"):
        kit.connect(certificate=theirs.certificate)
    with pytest.raises(InvalidRequestError, match="one of the two"):
        kit.connect(ca=theirs.certificate, credentials=grpc.ssl_channel_credentials())
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        kit.connect(ca=tmp_path / "missing.pem")
    with pytest.raises(TypeError, match="unknown option tokn; there are token, ca"):
        PolicyClient("127.0.0.1:1", tokn=SECRET)  # type: ignore[call-arg]
