"""CPU time and memory of a server: of its first process and of all that descend from it, from /proc.

CPU time is utime + stime of every thread, in ticks of 10 ms. It survives a busy machine: a process that waits
for a core is not charged for it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process at one moment.

    Attributes:
        pid: Process id.
        parent: Process id of its parent.
        cpu_ticks: utime + stime.
        start_ticks: When it started, since boot.
        resident_bytes: Resident memory.
    """

    pid: int
    parent: int
    cpu_ticks: int
    start_ticks: int
    resident_bytes: int

    @property
    def started_unix_s(self) -> float:
        """When it started, Unix time, to one tick."""
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return booted + self.start_ticks / TICKS_PER_S


def parse_stat(line: str) -> Process:
    """A process from the line of /proc/<pid>/stat (proc(5)); its name may hold anything, so it is cut out."""
    pid, _, rest = line.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    return Process(
        pid=int(pid),
        parent=int(fields[1]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        start_ticks=int(fields[19]),
        resident_bytes=int(fields[21]) * PAGE_BYTES,
    )


def running_processes() -> list[Process]:
    """All processes of this machine that could be read."""
    found = []
    for folder in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.append(parse_stat((folder / "stat").read_text()))
    return found


def tree(root: int, processes: Iterable[Process]) -> list[Process]:
    """The process `root` and its descendants, root first.

    Raises:
        BenchmarkError: There is no such process.
    """
    by_pid: dict[int, Process] = {}
    children: dict[int, list[int]] = {}
    for process in processes:
        by_pid[process.pid] = process
        children.setdefault(process.parent, []).append(process.pid)
    if root not in by_pid:
        raise BenchmarkError(f"process {root} has ended")
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop(0)
        found.append(by_pid[pid])
        waiting += children.get(pid, [])
    return found


def shared_bytes(pid: int) -> int:
    """Memory of a process, pages that others map too counted in part (PSS); 0 where the system hides it."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


@dataclass(frozen=True, slots=True)
class Roles:
    """What the processes of a server are called: the first one, and its descendants."""

    first: str
    descendants: str

    def of(self, root: int, process: Process) -> str:
        """Role of a process of the tree under `root`."""
        return self.first if process.pid == root else self.descendants


def cpu_us_per_call(
    before: Iterable[Process], after: Iterable[Process], calls: int, *, root: int, roles: Roles
) -> Mapping[str, float]:
    """CPU microseconds per call, by role.

    Raises:
        BenchmarkError: A process came or went in between, so that its time is not known.
    """
    then = {process.pid: process.cpu_ticks for process in before}
    now = list(after)
    if then.keys() != {process.pid for process in now}:
        raise BenchmarkError(
            "a process of the server started or ended while it was measured", hint="See its log."
        )
    ticks: dict[str, int] = {}
    for process in now:
        role = roles.of(root, process)
        ticks[role] = ticks.get(role, 0) + process.cpu_ticks - then[process.pid]
    return {role: count / TICKS_PER_S * 1e6 / calls for role, count in ticks.items()}
