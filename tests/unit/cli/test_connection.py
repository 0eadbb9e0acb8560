"""Commands against servers that they cannot talk to: each says in a line what is wrong with TLS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.certificates import Authority
from support.tls_servers import listening
from unit.cli.conftest import Steersman

AUTHORITY, STRANGER = Authority(), Authority("stranger")
SERVER, ROBOT = AUTHORITY.issue("server"), AUTHORITY.issue("robot")
COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "act": lambda at: ["act", "gate", "-o", "[0, 0, 0, 0]", "--server", at],
    "policies": lambda at: ["policies", "--server", at],
    "health": lambda at: ["health", "--server", at],
    "deploy": lambda at: ["deploy", "show", "--server", at],
}


@pytest.fixture(params=COMMANDS.values(), ids=COMMANDS.keys())
def command(request: pytest.FixtureRequest) -> Callable[[str], list[str]]:
    words: Callable[[str], list[str]] = request.param
    return words


@pytest.fixture
def ca(tmp_path: Path) -> list[str]:
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    return ["--ca", str(tmp_path / "ca.pem")]


def test_plain_text_to_a_tls_port(steersman: Steersman, command: Callable[[str], list[str]]) -> None:
    with listening(SERVER) as address:
        done = steersman(*command(address))
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        f"steersman: {address} speaks TLS, and this client plain text. "
        "Name the authority of its certificate with --ca or STEERSMAN_CA.\n"
    )


def test_tls_to_a_plain_port(
    steersman: Steersman, command: Callable[[str], list[str]], ca: list[str]
) -> None:
    with listening() as address:
        done = steersman(*command(address), *ca)
    assert (done.status, done.out) == (1, "")
    assert "does not speak TLS, and this client does. Leave out --ca" in done.err


def test_a_server_of_another_authority(
    steersman: Steersman, command: Callable[[str], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "stranger.pem").write_bytes(STRANGER.pem)
    with listening(SERVER) as address:
        done = steersman(*command(address), "--ca", str(tmp_path / "stranger.pem"))
    assert done.status == 1
    assert "is of no authority that this client believes. Name with --ca" in done.err


def test_a_server_that_wants_a_certificate(
    steersman: Steersman, command: Callable[[str], list[str]], ca: list[str], tmp_path: Path
) -> None:
    certificate, key = ROBOT.write(tmp_path, "robot")
    with listening(SERVER, AUTHORITY.pem) as address:
        done = steersman(*command(address), *ca)
        assert done.status == 1
        assert (
            "this client has none. Name a certificate and its key with --certificate and --key." in done.err
        )
        half = steersman(*command(address), *ca, "--certificate", str(certificate))
        assert (half.status, half.err.startswith("steersman: --key: missing")) == (2, True)
        shown = steersman(*command(address), *ca, "--certificate", str(certificate), "--key", str(key))
        assert "TLS" not in shown.err
        assert "certificate" not in shown.err  # it got in, to a server that offers nothing
