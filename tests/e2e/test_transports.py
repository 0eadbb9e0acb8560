"""Each transport as users start it: what it answers, which one is taken, and what hostile bytes do to it."""

from __future__ import annotations

import gzip
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from steersman.serving.testing import RunningServer, running_server
from steersman.v1 import policy_pb2 as pb
from steersman.v1 import policy_pb2_grpc as rpc
from support.scrape import scrape, value

OBSERVATION = pb.Tensor(values=[1, 3, 2, 0])
REQUEST = pb.ActRequest(policy="toy", observation=OBSERVATION)
TIMEOUT_S = 20.0
MAX_BYTES = 1 << 20
NO_WORKER = frozenset({"sqlalchemy", "alembic", "typer", "rich", "pydantic_settings", "cryptography"})
NO_SERVER = frozenset({"torch", "onnx", "stable_baselines3", "gymnasium"})


@pytest.fixture(scope="module", params=["grpcio", "native"])
def served(
    request: pytest.FixtureRequest,
    repository: Path,
    deployment: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[RunningServer, str]]:
    """A server of one transport, and what it logged so far."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    config = tmp_path_factory.mktemp("config") / "server.yaml"
    config.write_text(f"transport: {request.param}\nmax_message_bytes: {MAX_BYTES}\n")
    arguments = ("--config", str(config))
    with running_server(repository, deployments=[deployment], arguments=arguments, log=log) as server:
        yield server, log.read_text()


@pytest.fixture
def channel(served: tuple[RunningServer, str]) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served[0].grpc) as opened:
        yield opened


def act(channel: grpc.Channel) -> list[float]:
    answer = rpc.PolicyServiceStub(channel).Act(REQUEST, timeout=TIMEOUT_S, wait_for_ready=True)
    return list(answer.action.values)


def test_it_says_which_transport_it_took_and_why(served: tuple[RunningServer, str]) -> None:
    assert "it was asked for" in served[1]


def test_unary_streams_and_health_are_answered_on_one_port(channel: grpc.Channel) -> None:
    stub = rpc.PolicyServiceStub(channel)
    assert act(channel) == [1.0]
    numbered = [
        pb.ActRequest(policy="toy", observation=OBSERVATION, correlation_id=number)
        for number in range(1, 300)
    ]
    answers = list(stub.ActStream(iter(numbered), timeout=TIMEOUT_S))
    assert sorted(answer.correlation_id for answer in answers) == list(range(1, 300))
    watching = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(service="toy"), timeout=TIMEOUT_S
    )
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
    watching.cancel()


def test_what_is_answered_is_counted_once(served: tuple[RunningServer, str], channel: grpc.Channel) -> None:
    name, labels = "steersman_calls_total", {"method": "Act", "code": "ok"}
    before = value(scrape(served[0].http), name, **labels)
    stub = rpc.PolicyServiceStub(channel)
    pending = [stub.Act.future(REQUEST, timeout=TIMEOUT_S) for _ in range(200)]
    assert all(list(call.result().action.values) == [1.0] for call in pending)
    assert value(scrape(served[0].http), name, **labels) == before + 200


def frames(address: str) -> socket.socket:
    """A connection that has said the HTTP/2 preface."""
    host, _, port = address.rpartition(":")
    opened = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
    opened.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    return opened


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


HOSTILE: dict[str, Callable[[], bytes]] = {
    "garbage": lambda: os.urandom(4096),
    "HTTP/1.1": lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512),
    "headers that are no HPACK": lambda: frame(1, 4, 1, b"\xff" * 100),
    "data of no stream": lambda: frame(0, 0, 7, b"x" * 100),
    "a frame of 16 MiB": lambda: b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(1000),
    "an even stream": lambda: frame(1, 5, 2, b"\x82\x86\x84"),
    "endless continuation": lambda: frame(1, 0, 1, b"\x82") + frame(9, 0, 1, b"\x82" * 100) * 200,
    "pings": lambda: frame(6, 0, 0, bytes(8)) * 2000,
    "settings": lambda: frame(4, 0, 0, struct.pack(">HI", 4, 2**31 - 1)) * 500,
    "resets": lambda: b"".join(
        frame(1, 4, 2 * i + 1, b"\x82\x86\x84") + frame(3, 0, 2 * i + 1, bytes(4)) for i in range(500)
    ),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("polite", [False, True], ids=["at once", "after the preface"])
def test_broken_http2_harms_only_who_sends_it(
    served: tuple[RunningServer, str], channel: grpc.Channel, hostile: Callable[[], bytes], polite: bool
) -> None:
    host, _, port = served[0].grpc.rpartition(":")
    for _ in range(5):
        connection = (
            frames(served[0].grpc)
            if polite
            else socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        )
        with connection:
            try:
                connection.sendall(hostile())
            except OSError:  # it was disconnected meanwhile, which is right
                continue
    assert act(channel) == [1.0]


def test_too_much_is_refused_and_the_others_are_served(
    served: tuple[RunningServer, str], channel: grpc.Channel
) -> None:
    ask = channel.unary_unary("/steersman.v1.PolicyService/Act")
    for payload, options in (
        (bytes(MAX_BYTES + 1), {}),
        (bytes(4 * MAX_BYTES), {"compression": grpc.Compression.Gzip}),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            ask(payload, timeout=TIMEOUT_S, **options)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
    assert len(gzip.compress(bytes(4 * MAX_BYTES))) < MAX_BYTES
    assert act(channel) == [1.0]


def test_calls_in_flight_at_sigterm_are_answered_or_may_be_tried_again(
    served: tuple[RunningServer, str], repository: Path, tmp_path: Path
) -> None:
    """A plain client without retries. Nothing is lost without a word, and nothing hangs."""
    config = tmp_path / "server.yaml"
    kind = "native" if '"native"' in served[1] else "grpcio"
    config.write_text(f"transport: {kind}\n")
    outcomes: list[grpc.StatusCode] = []
    arguments = ("--config", str(config), "--lame-duck", "0.2")
    with running_server(repository, arguments=arguments) as server:
        started, over = threading.Event(), threading.Event()

        def call() -> None:
            with grpc.insecure_channel(server.grpc) as channel:
                while not over.is_set():
                    try:
                        act(channel)
                        outcomes.append(grpc.StatusCode.OK)
                    except grpc.RpcError as error:
                        outcomes.append(error.code())  # type: ignore[attr-defined]
                        return
                    started.set()

        callers = [threading.Thread(target=call) for _ in range(8)]
        for caller in callers:
            caller.start()
        assert started.wait(TIMEOUT_S)
        server.process.terminate()
        assert server.process.wait(TIMEOUT_S) == 0
        over.set()
        for caller in callers:
            caller.join(TIMEOUT_S * 2)
    assert outcomes.count(grpc.StatusCode.OK) > 0
    retryable = {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }  # the latter: nobody is there
    never_begun = set() if kind == "native" else {grpc.StatusCode.CANCELLED}  # grpcio's own way to say so
    assert set(outcomes) <= {grpc.StatusCode.OK} | retryable | never_begun


def test_on_loopback_the_native_transport_is_taken(repository: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_server(repository, log=log) as server, grpc.insecure_channel(server.grpc) as channel:
        assert act(channel) == [1.0]
        assert "only this host can reach 127.0.0.1" in log.read_text()


def test_a_slow_model_runs_on_a_thread(repository: Path, tmp_path: Path) -> None:
    threaded = tmp_path / "toy.yaml"
    threaded.write_text("policy: toy\nbatching: {run: thread, preferred_rows: [4, 16]}\n")
    rows = np.eye(4, dtype=np.float64)[np.arange(120) % 3]
    with (
        running_server(repository, deployments=[threaded]) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        stub = rpc.PolicyServiceStub(channel)
        requests = [pb.ActRequest(policy="toy", observation=pb.Tensor(values=row)) for row in rows]
        pending = [stub.Act.future(request, timeout=TIMEOUT_S) for request in requests]
        assert [call.result().action.values[0] for call in pending] == [i % 3 for i in range(120)]


@pytest.mark.parametrize("module", ["steersman.serving.worker", "steersman.serving.supervising.supervisor"])
def test_no_process_imports_what_it_has_no_use_for(module: str) -> None:
    """What is imported is resident memory, and time to start."""
    listing = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    said = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    loaded = set(said.stdout.split())
    assert not loaded & NO_SERVER
    if module.endswith("worker"):
        assert not loaded & NO_WORKER
