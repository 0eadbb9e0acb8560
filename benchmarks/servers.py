"""The servers that are measured, each in processes of its own, on loopback and a free port."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.exchange import Exchange
from benchmarks.processes import Roles
from steersman.serving.errors import ServingError
from steersman.serving.testing import running_server

ROOT = Path(__file__).parents[1]
ECHO = "grpcio-aio echo"
STEERSMAN = "steersman"


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
def steersman(repository: Path, log: Path) -> Iterator[Server]:
    """Steersman as users start it, with one worker.

    Raises:
        BenchmarkError: It did not start; the last of its log is told.
    """
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_server(repository, log=log))
        except ServingError as error:
            raise BenchmarkError(f"{error}\n{log.read_text()[-2000:]}", where=STEERSMAN) from error
        roles = Roles("supervisor", "worker")
        yield Server(STEERSMAN, server.grpc, server.process.pid, roles, server.http)


@contextmanager
def echo(exchange: Exchange) -> Iterator[Server]:
    """The bare echo of an exchange."""
    with tempfile.TemporaryDirectory(prefix="echo-") as folder:
        exchange.save(Path(folder))
        command = [sys.executable, "-m", "benchmarks.echo", folder]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
            try:
                yield Server(ECHO, f"127.0.0.1:{_port(process)}", process.pid, Roles("server", "server"))
            finally:
                process.terminate()


def _port(process: subprocess.Popen[str]) -> int:
    line = process.stdout.readline() if process.stdout else ""
    if not line.strip():
        raise BenchmarkError("it ended before it was ready", where=ECHO)
    return int(line)
