"""Load from h2load (nghttp2): gRPC calls as plain HTTP/2 requests, cheap enough not to be what is measured.

h2load logs every request as `start, Unix microseconds <TAB> HTTP status <TAB> microseconds until the end`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.exchange import ACT_PATH, Exchange, framed
from benchmarks.loads import Load
from benchmarks.points import Driver, Run
from steersman.bundle.errors import UsageError

TIMEOUT_S = 120
GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")
_REQUESTS = re.compile(r"^requests: (\d+) total.* (\d+) succeeded", re.MULTILINE)
_STATUS = re.compile(r"^status codes: (\d+) 2xx", re.MULTILINE)
_DATA = re.compile(r"^traffic: .*\((\d+)\) data$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Summary:
    """What h2load says at its end.

    Attributes:
        requests: Requests that it was to make.
        succeeded: Requests that were answered.
        status_2xx: Answers with an HTTP status of 200 to 299.
        data_bytes: Size of all bodies of the answers together.
    """

    requests: int
    succeeded: int
    status_2xx: int
    data_bytes: int


def require_h2load() -> None:
    """Checks that h2load is installed.

    Raises:
        UsageError: It is not.
    """
    if shutil.which("h2load") is None:
        raise UsageError(
            "h2load is not installed",
            hint="Debian, Ubuntu: apt-get install nghttp2-client; macOS: brew install nghttp2.",
        )


def parse_summary(output: str) -> Summary:
    """Reads the summary.

    Raises:
        BenchmarkError: There is none.
    """
    requests, status, data = (pattern.search(output) for pattern in (_REQUESTS, _STATUS, _DATA))
    if not (requests and status and data):
        raise BenchmarkError(f"h2load said something else than a summary: {output.strip()[-500:]}")
    return Summary(int(requests[1]), int(requests[2]), int(status[1]), int(data[1]))


def parse_log(text: str) -> Run:
    """Reads the log of requests.

    Raises:
        BenchmarkError: It is empty or malformed.
    """
    try:
        columns = np.array([line.split("\t") for line in text.splitlines()], np.int64)
        starts, latencies = columns[:, 0], columns[:, 2]
    except (ValueError, IndexError) as error:
        raise BenchmarkError(f"h2load's log cannot be read: {error}") from None
    seconds = (starts + latencies).max() - starts.min()
    return Run(float(seconds) / 1e6, latencies.astype(np.float64))


def verify(summary: Summary, calls: int, answer_bytes: int) -> None:
    """Checks that every call was answered with a message of the expected size, which no error has.

    Raises:
        BenchmarkError: It is not so.
    """
    expected = Summary(calls, calls, calls, calls * answer_bytes)
    if summary != expected:
        raise BenchmarkError(f"h2load got {summary}", expected=str(expected))


@dataclass(frozen=True, slots=True)
class Message:
    """A request as h2load sends it, over and over.

    Attributes:
        path: HTTP path.
        headers: HTTP headers.
        body: Body of the request.
        answer_bytes: Size of the body that every answer must have.
        http1: Whether it is HTTP/1.1, where a connection has one call in flight.
    """

    path: str
    headers: tuple[str, ...]
    body: bytes
    answer_bytes: int
    http1: bool = False


def h2load(load: Load, exchange: Exchange) -> Driver:
    """What makes a load of one `Act`, over and over."""
    answer_bytes = len(framed(exchange.response))
    return h2load_message(load, Message(ACT_PATH, GRPC_HEADERS, framed(exchange.request), answer_bytes))


def h2load_message(load: Load, message: Message) -> Driver:
    """What makes a load of one request, over and over."""

    def drive(address: str, calls: int) -> Run:
        with tempfile.TemporaryDirectory(prefix="h2load-") as folder:
            body, log = Path(folder) / "body", Path(folder) / "log"
            body.write_bytes(message.body)
            command = _command(load, message, address, calls)
            summary = parse_summary(_run([*command, f"-d{body}", f"--log-file={log}"]))
            verify(summary, calls, message.answer_bytes)
            return parse_log(log.read_text())

    return drive


def _command(load: Load, message: Message, address: str, calls: int) -> list[str]:
    """One call in flight on each connection is all that HTTP/1.1 can do, so it gets more connections."""
    connections, streams = (load.in_flight, 1) if message.http1 else (load.connections, load.streams)
    return [
        *("h2load", f"http://{address}{message.path}", "-t1", f"-n{calls}"),
        *(f"-c{connections}", f"-m{streams}", *(["--h1"] if message.http1 else [])),
        *(f"-H{header}" for header in message.headers),
    ]


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"h2load did not end within {TIMEOUT_S} s") from None
    return done.stdout
