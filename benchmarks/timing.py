"""CPU time of small functions on this thread, in alternating rounds.

Time in which another process had the core is not counted, so these suffer less from a busy machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from time import thread_time_ns

from benchmarks.turns import in_turn

Action = Callable[[], object]
MIN_LOOPS = 5


def time_in_turn(actions: Mapping[str, Action], *, rounds: int, seconds: float) -> dict[str, list[float]]:
    """CPU microseconds of one call of each action, one entry per round.

    Args:
        actions: What to time, by name.
        rounds: Number of rounds; the order turns from one to the next.
        seconds: CPU seconds for each action in each round.
    """
    loops = {name: _loops(action, seconds) for name, action in actions.items()}
    times: dict[str, list[float]] = {name: [] for name in actions}
    names = list(actions)
    for _, position in in_turn(len(names), rounds):
        name = names[position]
        times[name].append(_time(actions[name], loops[name]))
    return times


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """Median of the ratios, round by round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def _loops(action: Action, seconds: float) -> int:
    _time(action, MIN_LOOPS)
    return max(MIN_LOOPS, int(seconds * 1e6 / _time(action, MIN_LOOPS)))


def _time(action: Action, loops: int) -> float:
    started = thread_time_ns()
    for _ in range(loops):
        action()
    return (thread_time_ns() - started) / loops / 1e3
