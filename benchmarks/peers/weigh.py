"""What servers take up beside their calls: memory, processes, and CPU when nobody calls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.processes import TICKS_PER_S, running_processes, shared_bytes, tree
from benchmarks.servers import Server

IDLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Weight:
    """A server at rest.

    Attributes:
        memory_mb: Memory of all its processes, shared pages counted in part (PSS), 10^6 bytes.
        processes: How many they are.
        idle_ms_per_s: CPU milliseconds that they take each second while nobody calls.
    """

    memory_mb: float
    processes: int
    idle_ms_per_s: float


def weigh(servers: Sequence[Server]) -> Mapping[str, Weight]:
    """The weight of each by name, after what it was called for.

    Raises:
        BenchmarkError: One of them has ended.
    """
    before = {server.name: _ticks(server) for server in servers}
    time.sleep(IDLE_S)
    return {server.name: _weight(server, _ticks(server) - before[server.name]) for server in servers}


def _ticks(server: Server) -> int:
    return sum(process.cpu_ticks for process in tree(server.pid, running_processes()))


def _weight(server: Server, ticks: int) -> Weight:
    processes = tree(server.pid, running_processes())
    memory = sum(shared_bytes(process.pid) for process in processes) / 1e6
    return Weight(memory, len(processes), ticks / TICKS_PER_S * 1e3 / IDLE_S)
