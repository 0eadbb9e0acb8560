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
from benchmarks.loads import BATCH, BATCH_ROWS, CLIENT, LOADS, STREAM, STREAM_IN_FLIGHT
from benchmarks.machine import describe_machine
from benchmarks.points import Driver, Point, Subject
from benchmarks.policies import DEMO, REFERENCE, PolicyShape, publish
from benchmarks.results import Results
from benchmarks.rounds import Pace, measure_in_turn
from benchmarks.safety_figures import measure_safety
from benchmarks.servers import ECHO_MODULES, Server, echo, steersman
from benchmarks.startup import measure_start
from benchmarks.stream_load import stream_load

SERVED: tuple[PolicyShape, ...] = (REFERENCE, DEMO)
ONE_BY_ONE = LOADS[0]
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
    tell("safety path")
    results.safety += measure_safety(rounds=rounds, seconds=seconds)


def _run_servers(plan: Plan, folder: Path, results: Results, tell: Tell) -> None:
    repository = _repository(folder / "servers", SERVED, tell)
    with (
        steersman(repository, folder / "grpcio.log", "grpcio") as grpcio,
        steersman(repository, folder / "native.log", "native") as native,
    ):
        for shape in SERVED:
            _compare((grpcio, native), shape, plan, results, tell)


def _compare(servers: Sequence[Server], shape: PolicyShape, plan: Plan, results: Results, tell: Tell) -> None:
    """Measures a policy on the servers and on echoes of them, load by load."""
    exchange = learn_exchange(servers[0].address, shape)
    with ExitStack() as stack:
        bare = [stack.enter_context(echo(exchange, name)) for name in ECHO_MODULES]
        compared = (*bare, *servers)
        for each in compared:
            check_server(each.address, exchange)
        for name, in_flight, drive in _loads(exchange):
            tell(f"{shape.name}, {name}")
            subjects = [Subject(each, shape.name, name, drive) for each in compared]
            results.points += measure_in_turn(subjects, plan.pace, in_flight)
    tell(f"{shape.name}, {BATCH} and {STREAM}")
    results.points += _compare_modes(servers, exchange, shape, plan.pace)


def _compare_modes(
    servers: Sequence[Server], exchange: Exchange, shape: PolicyShape, pace: Pace
) -> list[Point]:
    """Measures what an echo has no counterpart of: calls of many rows, and a stream."""
    batch = h2load(ONE_BY_ONE, learn_exchange(servers[0].address, shape, BATCH_ROWS))
    stream = stream_load(exchange, STREAM_IN_FLIGHT)
    batches = [Subject(each, shape.name, BATCH, batch, rows=BATCH_ROWS) for each in servers]
    streams = [Subject(each, shape.name, STREAM, stream, method="ActStream") for each in servers]
    return [*measure_in_turn(batches, pace, 1), *measure_in_turn(streams, pace, STREAM_IN_FLIGHT)]


def _loads(exchange: Exchange) -> list[tuple[str, int, Driver]]:
    """Name, calls in flight, and driver of each load."""
    from_h2load = [(load.name, load.in_flight, h2load(load, exchange)) for load in LOADS]
    return [*from_h2load, (CLIENT, 1, client_load(exchange))]


def _repository(root: Path, shapes: Sequence[PolicyShape], tell: Tell) -> Path:
    for shape in shapes:
        tell(f"bundle {shape.name}")
        publish(root, shape)
    return root
