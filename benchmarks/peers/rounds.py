"""Alternating rounds in which one server may fail without ending the others' turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.errors import BenchmarkError
from benchmarks.points import Point, Subject, measure
from benchmarks.rounds import WARM_UP_CALLS, Pace, calls_within
from benchmarks.turns import in_turn

TRIES = 2
"""A server that started or ended a process of its own during a measurement gets another one."""

Failed = Callable[[Subject, BenchmarkError], None]
"""Told what could not be measured, and why."""


def measure_what_answers(
    subjects: Sequence[Subject], pace: Pace, in_flight: int, failed: Failed
) -> list[Point]:
    """Measures servers under the same load, in turn, after a warm-up of each. Who fails drops out."""
    least = WARM_UP_CALLS + 5 * in_flight
    calls: dict[int, int] = {}
    for position, subject in enumerate(subjects):
        try:
            warm_up = subject.drive(subject.server.address, least)
            calls[position] = calls_within(pace.seconds, warm_up, least)
        except BenchmarkError as error:
            failed(subject, error)
    points = []
    for number, position in in_turn(len(subjects), pace.rounds):
        if position in calls:
            try:
                points.append(_measure(subjects[position], calls[position], number))
            except BenchmarkError as error:
                failed(subjects[position], error)
                del calls[position]
    return points


def _measure(subject: Subject, calls: int, number: int) -> Point:
    for _ in range(TRIES - 1):
        try:
            return measure(subject, calls, number)
        except BenchmarkError:
            continue
    return measure(subject, calls, number)
