"""One measured point: a server under one load in one round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.counters import ACT, read_totals, verify_counted
from benchmarks.processes import cpu_us_per_call, running_processes, tree
from benchmarks.servers import Server


@dataclass(frozen=True, slots=True)
class Run:
    """What a load generator saw.

    Attributes:
        seconds: From the first call's start to the last one's end.
        latencies_us: [calls] microseconds, one per call.
    """

    seconds: float
    latencies_us: NDArray[np.float64]


Driver = Callable[[str, int], Run]
"""Makes so many calls to an address, all of which must succeed."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement.

    Attributes:
        server: Name of the server.
        policy: Name of the policy.
        load: Name of the load.
        round: Number of the round, from 0.
        calls: Calls made, all answered.
        seconds: How long that took.
        p50_us: Median latency.
        p99_us: 99th percentile of the latency.
        cpu_us: CPU microseconds per call, by role of the process.
    """

    server: str
    policy: str
    load: str
    round: int
    calls: int
    seconds: float
    p50_us: float
    p99_us: float
    cpu_us: Mapping[str, float]

    @property
    def calls_per_s(self) -> float:
        """Throughput."""
        return self.calls / self.seconds

    @property
    def total_cpu_us(self) -> float:
        """CPU microseconds per call, all processes of the server together."""
        return sum(self.cpu_us.values())


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured: a server that answers for a policy, and how a load calls it.

    Attributes:
        server: The server.
        policy: Name of the policy.
        load: Name of the load.
        drive: Makes the calls.
        method: What they are counted as.
        rows: Rows of each.
    """

    server: Server
    policy: str
    load: str
    drive: Driver
    method: str = ACT
    rows: int = 1


def measure(subject: Subject, calls: int, round_number: int) -> Point:
    """Makes the calls and accounts for them.

    Raises:
        BenchmarkError: A call failed, or the server counted others than were made.
    """
    server = subject.server
    totals = read_totals(server.metrics, subject.method) if server.metrics else None
    before = tree(server.pid, running_processes())
    run = subject.drive(server.address, calls)
    after = tree(server.pid, running_processes())
    if totals is not None and server.metrics:
        counted = read_totals(server.metrics, subject.method)
        verify_counted(totals, counted, calls, server.name, rows=subject.rows)
    p50, p99 = np.percentile(run.latencies_us, (50, 99)).tolist()
    return Point(
        server=server.name,
        policy=subject.policy,
        load=subject.load,
        round=round_number,
        calls=calls,
        seconds=run.seconds,
        p50_us=p50,
        p99_us=p99,
        cpu_us=cpu_us_per_call(before, after, calls, root=server.pid, roles=server.roles),
    )
