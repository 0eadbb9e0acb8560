"""One run: every server is started, checked, and measured in turn with the others at each load."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks.counters import ACT
from benchmarks.errors import BenchmarkError
from benchmarks.exchange import check_server, learn_exchange
from benchmarks.h2load import Message, h2load, h2load_message, require_h2load
from benchmarks.loads import LOADS, Load
from benchmarks.machine import describe_machine
from benchmarks.peers.launch import check_answers, running
from benchmarks.peers.model import Oracle, write_model
from benchmarks.peers.peer import Peer
from benchmarks.peers.rounds import measure_what_answers
from benchmarks.peers.venvs import environment
from benchmarks.peers.weigh import Weight, weigh
from benchmarks.peers.wire import OpenInference, Wire
from benchmarks.points import Driver, Point, Subject
from benchmarks.policies import REFERENCE, PolicyShape, publish
from benchmarks.rounds import Pace
from benchmarks.servers import ECHO_MODULES, Server, echo, steersman
from benchmarks.summary import Row, summarize

BASELINE = "steersman native"
OWN_WIRE = "Act, gRPC"
INFER = "ModelInfer"

Tell = Callable[[str], None]
"""Told what is being done."""
Drivers = Callable[[Load], Driver]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server that answers rightly, and how it is called.

    Attributes:
        server: The server.
        wire: What it is called with, for the table.
        drivers: Makes the calls of a load.
        method: What Steersman counts them as.
    """

    server: Server
    wire: str
    drivers: Drivers
    method: str = ACT


@dataclass(slots=True)
class Comparison:
    """All that a run found.

    Attributes:
        machine: What it ran on.
        pace: How long and how often was measured.
        wires: What each server was called with, by its name.
        points: Measurements.
        weights: Memory and idle CPU by name.
        failures: Why a peer, or a peer under a load, is missing; by name.
    """

    machine: Mapping[str, str]
    pace: Pace
    wires: dict[str, str] = field(default_factory=dict[str, str])
    points: list[Point] = field(default_factory=list[Point])
    weights: Mapping[str, Weight] = field(default_factory=dict[str, Weight])
    failures: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def rows(self) -> Sequence[Row]:
        """Medians, and ratios to Steersman's own call over the native transport."""
        return summarize(self.points, baseline=BASELINE)

    def to_json(self) -> str:
        """Everything, with each round's own figures."""
        document = {**asdict(self), "summary": [asdict(row) for row in self.rows]}
        return json.dumps(document, indent=1)


def compare(peers: Sequence[Peer], pace: Pace, venvs: Path, folder: Path, tell: Tell) -> Comparison:
    """Compares. `folder` is for models, bundles and logs, `venvs` for what is installed.

    Raises:
        UsageError: h2load is not installed.
        BenchmarkError: Steersman or an echo did not answer as it should; a peer's failure is in the result.
    """
    require_h2load()
    found = Comparison(describe_machine(), pace)
    shape, model = REFERENCE, folder / "policy.onnx"
    oracle = write_model(shape, model)
    with ExitStack() as stack:
        contestants = _ours(stack, shape, folder, oracle, tell)
        for peer in peers:
            tell(f"starting {peer.name}")
            try:
                venv = environment(peer, venvs)
                server = stack.enter_context(running(peer, venv, shape, model, folder / peer.lock_file.stem))
                contestants.append(_contestant(server, peer.wire, shape, oracle))
            except BenchmarkError as error:
                found.failures[peer.name] = str(error)
        found.wires |= {each.server.name: each.wire for each in contestants}
        _measure(found, contestants, tell)
        tell("memory")
        found.weights = weigh([each.server for each in contestants if _has_points(found, each)])
    return found


def _ours(stack: ExitStack, shape: PolicyShape, folder: Path, oracle: Oracle, tell: Tell) -> list[Contestant]:
    """The bare echoes, and Steersman over both transports, called in both protocols."""
    tell("starting Steersman")
    publish(folder / "bundles", shape)
    servers = [
        stack.enter_context(steersman(folder / "bundles", folder / f"{name}.log", name))
        for name in ("grpcio", "native")
    ]
    exchange = learn_exchange(servers[0].address, shape)
    bare = [stack.enter_context(echo(exchange, name)) for name in ECHO_MODULES]
    for each in (*bare, *servers):
        check_server(each.address, exchange)
    own = [Contestant(each, OWN_WIRE, lambda load: h2load(load, exchange)) for each in (*bare, *servers)]
    shared = [_contestant(_renamed(each), OpenInference(), shape, oracle) for each in servers]
    return [*own, *shared]


def _renamed(server: Server) -> Server:
    return replace(server, name=f"{server.name}, OIP")


def _contestant(server: Server, wire: Wire, shape: PolicyShape, oracle: Oracle) -> Contestant:
    """A server that was checked, called with the row that all are called with.

    Raises:
        BenchmarkError: It answers wrongly.
    """
    check_answers(wire, server.address, shape, oracle)
    row = shape.row()
    size = wire.ask(server.address, shape.name, *row).body_bytes
    message = Message(wire.path, wire.headers, wire.body(shape.name, *row), size, wire.http1)
    return Contestant(server, wire.label, lambda load: h2load_message(load, message), INFER)


def _measure(found: Comparison, contestants: Sequence[Contestant], tell: Tell) -> None:
    def failed(subject: Subject, error: BenchmarkError) -> None:
        found.failures[f"{subject.server.name}, {subject.load}"] = str(error)

    for load in LOADS:
        tell(f"{load.name}, {len(contestants)} servers")
        subjects = [
            Subject(each.server, REFERENCE.name, load.name, each.drivers(load), method=each.method)
            for each in contestants
        ]
        found.points += measure_what_answers(subjects, found.pace, load.in_flight, failed)


def _has_points(found: Comparison, contestant: Contestant) -> bool:
    return any(point.server == contestant.server.name for point in found.points)
