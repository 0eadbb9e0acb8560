import os
import subprocess
import sys

import pytest
from benchmarks.errors import BenchmarkError
from benchmarks.processes import (
    PAGE_BYTES,
    TICKS_PER_S,
    Process,
    Roles,
    cpu_us_per_call,
    parse_stat,
    running_processes,
    shared_bytes,
    tree,
)

STAT = (
    "4242 (a (odd) name) S 17 4242 4242 0 -1 4194304 9 0 0 0 250 75 1000 2000 20 0 9 0 987654 "
    "123456789 2048 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0"
)
ROLES = Roles("supervisor", "worker")


def _process(pid: int, parent: int, ticks: int = 0) -> Process:
    return Process(pid, parent, ticks, start_ticks=0, resident_bytes=0)


def test_a_stat_line_is_read_past_a_name_with_parentheses() -> None:
    assert parse_stat(STAT) == Process(
        pid=4242, parent=17, cpu_ticks=325, start_ticks=987654, resident_bytes=2048 * PAGE_BYTES
    )


def test_children_of_the_dead_are_not_waited_for_but_those_that_live_are_counted() -> None:
    line = STAT.replace("250 75 1000 2000", "250 75 0 0")
    assert parse_stat(line).cpu_ticks == parse_stat(STAT).cpu_ticks


def test_a_tree_has_descendants_of_all_generations_and_nobody_else() -> None:
    processes = [_process(3, 2), _process(1, 0), _process(2, 1), _process(9, 1), _process(4, 2)]
    assert [process.pid for process in tree(2, processes)] == [2, 3, 4]


def test_a_root_that_has_ended_says_so() -> None:
    with pytest.raises(BenchmarkError, match="process 7 has ended"):
        tree(7, [_process(1, 0)])


def test_cpu_per_call_is_told_by_role_and_workers_are_added_up() -> None:
    before = [_process(10, 1, 100), _process(11, 10, 1000), _process(12, 10, 2000)]
    after = [_process(10, 1, 101), _process(11, 10, 1040), _process(12, 10, 2060)]
    found = cpu_us_per_call(before, after, calls=1000, root=10, roles=ROLES)
    tick_us = 1e6 / TICKS_PER_S
    assert found == {"supervisor": pytest.approx(tick_us / 1000), "worker": pytest.approx(tick_us / 10)}


@pytest.mark.parametrize(
    "after", [[_process(10, 1)], [_process(10, 1), _process(12, 10)]], ids=["ended", "replaced"]
)
def test_a_worker_that_was_restarted_makes_the_figure_void(after: list[Process]) -> None:
    with pytest.raises(BenchmarkError, match="started or ended"):
        cpu_us_per_call([_process(10, 1), _process(11, 10)], after, calls=1, root=10, roles=ROLES)


def test_this_machine_can_be_read() -> None:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        found = tree(os.getpid(), running_processes())
        assert child.pid in {process.pid for process in found}
        assert found[0].pid == os.getpid()
        assert found[0].resident_bytes > 0
        assert shared_bytes(os.getpid()) <= found[0].resident_bytes * 1.5
        child.communicate(b"\n")
