"""What a start takes and checks before it changes anything, and that one that fails has changed nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from steersman.serving.testing import running_server
from support.certificates import Authority

FREE = {"--port": "0", "--http-port": "0", "--control-port": "0"}


def serve(repository: Path, state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `steersman serve`, which must end by itself."""
    command = [sys.executable, "-P", "-m", "steersman.cli", "serve", "--repository", str(repository)]
    ports = [word for pair in FREE.items() if pair[0] not in arguments for word in pair]
    return subprocess.run(
        [*command, "--state-dir", str(state), *ports, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def kept(state: Path) -> dict[str, bytes]:
    """What is in a state folder, but for the lock, which says who was there last."""
    return {
        file.name: file.read_bytes()
        for file in state.iterdir()
        if file.is_file() and file.name != "server.lock"
    }


def test_a_second_server_may_not_use_the_same_state_folder(repository: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    ready = tmp_path / "ready"
    ready.write_text("the first one's")
    with running_server(repository, state_dir=state) as first:
        before = kept(state)
        refused = serve(repository, state, "--ready-file", str(ready))
        assert ready.exists()
        assert kept(state) == before
    assert refused.returncode == 2
    line = refused.stderr.splitlines()[-1]
    assert line == (
        f"steersman: {state}: another server uses this state folder: process {first.process.pid}. "
        "End that one, or give this one a folder of its own with --state-dir."
    )


def test_the_folder_is_free_again_however_the_server_ended(repository: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running_server(repository, state_dir=state) as first:
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait(10)
        with running_server(repository, state_dir=state) as second:
            assert (state / "server.lock").read_text().split()[0] == str(second.process.pid)


def _taken_port(option: str) -> Callable[[Path], list[str]]:
    def options(folder: Path) -> list[str]:
        return [option, (folder / "taken").read_text()]

    return options


def _bad_certificate(folder: Path) -> list[str]:
    (folder / "tls.pem").write_text("no PEM")
    return ["--tls-certificate", str(folder / "tls.pem"), "--tls-key", str(folder / "tls.pem")]


def _key_of_another(folder: Path) -> list[str]:
    authority = Authority()
    certificate, _ = authority.issue("server").write(folder, "server")
    _, key = authority.issue("other").write(folder, "other")
    return ["--tls-certificate", str(certificate), "--tls-key", str(key)]


def _native_with_tls(folder: Path) -> list[str]:
    certificate, key = Authority().issue("server").write(folder, "server")
    return ["--transport", "native", "--tls-certificate", str(certificate), "--tls-key", str(key)]


def _impatient(folder: Path) -> list[str]:
    del folder
    return ["--start-timeout", "0.01"]


FAILURES: dict[str, tuple[Callable[[Path], list[str]], int, str]] = {
    "gRPC port": (_taken_port("--port"), 1, "cannot listen for gRPC: Address already in use"),
    "HTTP port": (_taken_port("--http-port"), 1, "cannot listen for HTTP: Address already in use"),
    "control port": (_taken_port("--control-port"), 1, "cannot listen for control: Address already in use"),
    "certificate": (_bad_certificate, 2, "no certificate is in it"),
    "key": (_key_of_another, 2, "not the key of tls_certificate"),
    "transport": (_native_with_tls, 2, "the native transport has no TLS"),
    "worker": (_impatient, 1, "was not ready within 0.01 s"),
}


@pytest.mark.parametrize(("options", "status", "said"), FAILURES.values(), ids=FAILURES.keys())
def test_a_start_that_fails_changes_nothing_and_says_why_in_a_line(
    repository: Path,
    used: Path,
    tmp_path: Path,
    options: Callable[[Path], list[str]],
    status: int,
    said: str,
) -> None:
    before = kept(used)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "taken").write_text(str(taken.getsockname()[1]))
        finished = serve(repository, used, *options(tmp_path))
    *logged, line = finished.stderr.splitlines()
    assert (finished.returncode, line.startswith("steersman: ")) == (status, True), finished.stderr
    assert said in line
    assert all(json.loads(entry)["message"] for entry in logged)  # and nothing of a library's own
    assert kept(used) == before


@pytest.fixture(scope="module")
def used(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a server that has run."""
    state = tmp_path_factory.mktemp("used") / "state"
    with running_server(repository, state_dir=state):
        pass
    assert json.loads((state / "routing.json").read_text())["generation"] == 1
    return state
