"""A test kit: a real server of one's own, in a process of its own.

with running_server(repository) as server:
    PolicyClient(server.grpc).act("cartpole", [0.0, 0.0, 0.0, 0.0])
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from steersman.serving.errors import ServingError

POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers.

    Attributes:
        grpc: Address for gRPC, host:port.
        http: Address for HTTP, a URL.
        control: Address for the control service, host:port.
        process: The supervisor.
    """

    grpc: str
    http: str
    control: str
    process: subprocess.Popen[bytes]


@contextmanager
def running_server(
    repository: Path,
    *,
    deployments: Sequence[Path] = (),
    workers: int = 1,
    arguments: Sequence[str] = (),
    start_timeout_s: float = 60.0,
    log: Path | None = None,
    state_dir: Path | None = None,
) -> Iterator[RunningServer]:
    """A server on free loopback ports with its own state folder; it is drained at the end.

    It refuses calls at once then, unless `arguments` have a `--lame-duck`.

    Args:
        repository: Folder of bundles.
        deployments: Deployment files.
        workers: Number of worker processes.
        arguments: More arguments of `steersman serve`.
        start_timeout_s: Seconds that it gets to start.
        log: File for its log; without one it goes to standard error.
        state_dir: Its state folder, to start it again with what it knew; without one a new one.

    Raises:
        ServingError: It ended before it was ready, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="steersman-") as folder:
        ready = Path(folder) / "ready.json"
        state = state_dir or Path(folder) / "state"
        command = _command(repository, deployments, workers, state, ready)
        with log.open("wb") if log else _stderr() as output:
            process = subprocess.Popen([*command, *arguments], stdout=output, stderr=output)  # noqa: S603
        try:
            addresses = _wait_until_ready(process, ready, start_timeout_s)
            yield RunningServer(process=process, **addresses)
        finally:
            _end(process)


def _command(
    repository: Path, deployments: Sequence[Path], workers: int, state: Path, ready: Path
) -> list[str]:
    command = [sys.executable, "-P", "-m", "steersman.cli", "serve", "--repository", str(repository)]
    command += ["--port", "0", "--http-port", "0", "--control-port", "0", "--workers", str(workers)]
    command += ["--state-dir", str(state), "--ready-file", str(ready), "--lame-duck", "0"]
    for deployment in deployments:
        command += ["--deployment", str(deployment)]
    return command


@contextmanager
def _stderr() -> Iterator[int]:
    yield sys.__stderr__.fileno() if sys.__stderr__ else subprocess.DEVNULL


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Path, timeout_s: float) -> dict[str, str]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if ready.exists():
            addresses: dict[str, str] = json.loads(ready.read_text())
            return addresses
        if (status := process.poll()) is not None:
            raise ServingError(f"the server ended with status {status} before it was ready")
        time.sleep(POLL_S)
    raise ServingError(f"the server was not ready within {timeout_s:g} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
