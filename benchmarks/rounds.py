"""Alternating rounds: what is compared is measured side by side, and the order turns from round to round.

A shared machine is faster in one second than in the next. So the servers take turns at each load (A B, B A,
A B, ...), and their ratio is taken within the round, pair by pair, before the median over rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.points import Point, Run, Subject, measure
from benchmarks.turns import in_turn

WARM_UP_CALLS = 20
MAX_CALLS = 200_000


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured.

    Attributes:
        rounds: Number of rounds.
        seconds: Aimed length of one point.
    """

    rounds: int = 3
    seconds: float = 1.0


QUICK = Pace(rounds=1, seconds=0.2)


def calls_within(seconds: float, warm_up: Run, least: int) -> int:
    """How many calls take about so long, judged by a warm-up."""
    rate = len(warm_up.latencies_us) / warm_up.seconds
    return min(max(int(rate * seconds), least), MAX_CALLS)


def measure_in_turn(subjects: Sequence[Subject], pace: Pace, in_flight: int) -> list[Point]:
    """Measures servers under the same load in alternating rounds, after a warm-up of each.

    Args:
        subjects: What is compared.
        pace: Rounds, and the length of each point.
        in_flight: Calls in flight; there are warm-up calls for each of them.
    """
    least = WARM_UP_CALLS + 5 * in_flight
    calls = [
        calls_within(pace.seconds, subject.drive(subject.server.address, least), least)
        for subject in subjects
    ]
    return [
        measure(subjects[position], calls[position], number)
        for number, position in in_turn(len(subjects), pace.rounds)
    ]
