"""The three parts of a run: servers under load, the decision core, and starting up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks.client_load import client_load
from benchmarks.engine_figures import BATCHES, SHAPES, measure_engine
from benchmarks.engine_kit import load_engine
from benchmarks.exchange import Exchange, check_server, learn_exchange
from benchmarks.h2load import h2load, require_h2load
from benchmarks.loads import CLIENT, LOADS
from benchmarks.machine import describe_machine
from benchmarks.points import Driver, Subject
from benchmarks.policies import DEMO, REFERENCE, PolicyShape, publish
from benchmarks.results import Results
from benchmarks.rounds import Pace, measure_in_turn
from benchmarks.servers import Server, echo, steersman
from benchmarks.startup import measure_start

SERVED: tuple[PolicyShape, ...] = (REFERENCE, DEMO)
ENGINE_ROUNDS_PER_ROUND, ENGINE_SHARE = 5, 0.01
STARTS = 5


class Part(StrEnum):
    """A part of a run."""

    START = "start"
    ENGINE = "engine"
    SERVERS = "servers"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        parts: Parts of it.
        pace: Rounds and seconds of each point.
        starts: How often a server is started, to time that.
    """

    parts: Collection[Part]
    pace: Pace
    starts: int


Tell = Callable[[str], None]
"""Told what is being done."""


def run(plan: Plan, folder: Path, tell: Tell) -> Results:
    """Runs the plan. `folder` is for bundles, counters and logs.

    Raises:
        UsageError: h2load is not installed.
        BenchmarkError: A server did not answer as it should.
    """
    if Part.SERVERS in plan.parts:
        require_h2load()
    results = Results(describe_machine())
    if Part.START in plan.parts:
        _run_starts(plan, folder, results, tell)
    if Part.ENGINE in plan.parts:
        _run_engine(plan, folder, results, tell)
    if Part.SERVERS in plan.parts:
        _run_servers(plan, folder, results, tell)
    return results


def _run_starts(plan: Plan, folder: Path, results: Results, tell: Tell) -> None:
    repository = _repository(folder / "start", (DEMO,), tell)
    for number in range(plan.starts):
        tell(f"start {number + 1} of {plan.starts}")
        results.starts.append(measure_start(repository, DEMO, folder / "start.log"))


def _run_engine(plan: Plan, folder: Path, results: Results, tell: Tell) -> None:
    engine = load_engine(_repository(folder / "engine", SHAPES, tell), folder)
    rounds, seconds = plan.pace.rounds * ENGINE_ROUNDS_PER_ROUND, plan.pace.seconds * ENGINE_SHARE
    for shape in SHAPES:
        for rows in BATCHES:
            tell(f"engine, {shape.name}, batch {rows}")
            figures = measure_engine(engine, shape, rows, rounds=rounds, seconds=seconds)
            results.engine.append(figures)


def _run_servers(plan: Plan, folder: Path, results: Results, tell: Tell) -> None:
    repository = _repository(folder / "servers", SERVED, tell)
    with steersman(repository, folder / "servers.log") as server:
        for shape in SERVED:
            _compare(server, shape, plan, results, tell)


def _compare(server: Server, shape: PolicyShape, plan: Plan, results: Results, tell: Tell) -> None:
    """Measures a policy on the server and on an echo of it, load by load."""
    exchange = learn_exchange(server.address, shape)
    with ExitStack() as stack:
        bare = stack.enter_context(echo(exchange))
        for each in (bare, server):
            check_server(each.address, exchange)
        for name, in_flight, drive in _loads(exchange):
            tell(f"{shape.name}, {name}")
            subjects = [Subject(each, shape.name, name, drive) for each in (bare, server)]
            results.points += measure_in_turn(subjects, plan.pace, in_flight)


def _loads(exchange: Exchange) -> list[tuple[str, int, Driver]]:
    """Name, calls in flight, and driver of each load."""
    from_h2load = [(load.name, load.in_flight, h2load(load, exchange)) for load in LOADS]
    return [*from_h2load, (CLIENT, 1, client_load(exchange))]


def _repository(root: Path, shapes: Sequence[PolicyShape], tell: Tell) -> Path:
    for shape in shapes:
        tell(f"bundle {shape.name}")
        publish(root, shape)
    return root
