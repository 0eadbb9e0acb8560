"""The servers that are measured, each in processes of its own, on loopback and a free port."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.errors import BenchmarkError
from benchmarks.exchange import Exchange
from benchmarks.processes import Roles
from steersman.serving.errors import ServingError
from steersman.serving.testing import running_server

ROOT = Path(__file__).parents[1]
ECHO = "grpcio-aio echo"
NATIVE_ECHO = "native echo"
NAMES = {"grpcio": "steersman grpcio", "native": "steersman native"}
ECHO_MODULES = {ECHO: "benchmarks.echo", NATIVE_ECHO: "benchmarks.native_echo"}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers.

    Attributes:
        name: As the tables call it.
        address: Its gRPC address.
        pid: Its first process.
        roles: What its processes are called.
        metrics: URL of its counters; None where it has none.
    """

    name: str
    address: str
    pid: int
    roles: Roles
    metrics: str | None = None


@contextmanager
def steersman(
    repository: Path, log: Path, transport: Literal["grpcio", "native"] = "native"
) -> Iterator[Server]:
    """Steersman as users start it, with one worker; on loopback it takes `native` if not told otherwise.

    Raises:
        BenchmarkError: It did not start; the last of its log is told.
    """
    with ExitStack() as stack:
        try:
            server = stack.enter_context(
                running_server(repository, log=log, arguments=("--transport", transport))
            )
        except ServingError as error:
            raise BenchmarkError(f"{error}\n{log.read_text()[-2000:]}", where=NAMES[transport]) from error
        roles = Roles("supervisor", "worker")
        yield Server(NAMES[transport], server.grpc, server.process.pid, roles, server.http)


@contextmanager
def echo(exchange: Exchange, name: str = ECHO) -> Iterator[Server]:
    """The bare echo of an exchange, over one transport or the other."""
    with tempfile.TemporaryDirectory(prefix="echo-") as folder:
        exchange.save(Path(folder))
        command = [sys.executable, "-m", ECHO_MODULES[name], folder]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
            try:
                yield Server(
                    name, f"127.0.0.1:{_port(process, name)}", process.pid, Roles("server", "server")
                )
            finally:
                process.terminate()


def _port(process: subprocess.Popen[str], name: str) -> int:
    line = process.stdout.readline() if process.stdout else ""
    if not line.strip():
        raise BenchmarkError("it ended before it was ready", where=name)
    return int(line)
