"""How long a server takes to be ready, and what its processes weigh then."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client_load import client_load
from benchmarks.counters import read_totals
from benchmarks.errors import BenchmarkError
from benchmarks.exchange import learn_exchange
from benchmarks.policies import PolicyShape
from benchmarks.processes import running_processes, shared_bytes, tree
from benchmarks.servers import Server, steersman

CALLS = 100
MB = 1e6


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a server with one worker.

    Attributes:
        server_s: Seconds from starting `steersman serve` until it says that it is ready.
        worker_s: Seconds from the start of the worker's process until it answers calls.
        supervisor_mb: Resident memory of the supervisor after some calls, 10^6 bytes.
        worker_mb: Resident memory of the worker.
        shared_mb: Memory of both, pages that they share counted once.
    """

    server_s: float
    worker_s: float
    supervisor_mb: float
    worker_mb: float
    shared_mb: float

    @property
    def total_mb(self) -> float:
        """Resident memory of both."""
        return self.supervisor_mb + self.worker_mb


def measure_start(repository: Path, shape: PolicyShape, log: Path) -> Start:
    """Starts a server, calls it, and ends it.

    Raises:
        BenchmarkError: It does not have one worker, or does not answer.
    """
    started = time.monotonic()
    with steersman(repository, log) as server:
        ready = time.monotonic() - started
        client_load(learn_exchange(server.address, shape))(server.address, CALLS)
        return _weigh(server, ready)


def _weigh(server: Server, server_s: float) -> Start:
    supervisor, *workers = tree(server.pid, running_processes())
    ready = list(read_totals(server.metrics).ready_unix_s.values()) if server.metrics else []
    if len(workers) != 1 or len(ready) != 1:
        raise BenchmarkError(f"it has {len(workers)} workers", where=server.name, expected="1")
    return Start(
        server_s=server_s,
        worker_s=ready[0] - workers[0].started_unix_s,
        supervisor_mb=supervisor.resident_bytes / MB,
        worker_mb=workers[0].resident_bytes / MB,
        shared_mb=sum(shared_bytes(process.pid) for process in (supervisor, *workers)) / MB,
    )
