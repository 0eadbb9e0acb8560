"""Whatever comes over the wire gets a status and a message, and harms nobody else.

`FUZZ_EXAMPLES` says how many of each kind; `make fuzz` goes on for minutes.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steersman.serving.testing import RunningServer, running_server
from support.hostile import (
    CONTROL_CALLS,
    FLOODS,
    HEALTH_CALLS,
    OIP_CALLS,
    POLICY_CALLS,
    PREFACE,
    SETTINGS,
    STREAM_CALLS,
    any_message,
    frame,
    frames,
    near_act,
    near_infer,
)
from support.load import Load, single_calls
from support.scrape import scrape, value
from support.toy_bundle import box_contract, discrete_contract, publish_toy

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "20"))
MAX_BYTES = 1 << 18
MOST_GROWTH = 256 << 20
"""Resident bytes that a server may grow by: caches fill, allocators keep what they had. Some 4 MiB where the
machine is quiet; where it is not, the native front has taken up to 165 MiB of what floods sent meanwhile."""
TIMEOUT_S = 20.0
REST_S = 0.005
CALLS = {**POLICY_CALLS, **OIP_CALLS, **HEALTH_CALLS}
EXPECTED = {
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "UNIMPLEMENTED",
    "RESOURCE_EXHAUSTED",
    "OUT_OF_RANGE",
    "ABORTED",
    "DEADLINE_EXCEEDED",
    "ALREADY_EXISTS",
}
INSIDE = re.compile(r"Traceback|File \"|/tmp/|site-packages|0x[0-9a-f]{8}|object at")
QUIET = ("defect", "Traceback", "worker ended", "hangs", "panick")
DEPLOYMENT = "policy: toy\nsafety: {fallback: [{preference: [0, 1]}]}\n"
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.fixture(scope="module", params=["grpcio", "native"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server that somebody else uses all the while; afterwards it must be as before."""
    folder = tmp_path_factory.mktemp("fuzz")
    publish_toy(folder / "bundles", "toy", discrete_contract())
    publish_toy(folder / "bundles", "cont", box_contract())
    (folder / "toy.yaml").write_text(DEPLOYMENT)
    (folder / "server.yaml").write_text(f"transport: {request.param}\nmax_message_bytes: {MAX_BYTES}\n")
    arguments = ("--config", str(folder / "server.yaml"))
    with running_server(
        folder / "bundles", deployments=[folder / "toy.yaml"], arguments=arguments, log=folder / "log"
    ) as running:
        victim = Load()
        with grpc.insecure_channel(running.grpc) as channel:
            act = single_calls(channel, "toy", TIMEOUT_S)
            victim.add(lambda: (time.sleep(REST_S), act())[1])
            victim.wait_for(20)
            resident = resident_bytes(running)
            yield running
            victim.wait_for(20)
            victim.stop()
        assert victim.failures() == []
        assert value(scrape(running.http), "steersman_worker_starts_total") == 1
        assert resident_bytes(running) - resident < MOST_GROWTH
    assert_quiet(folder / "log")


def resident_bytes(server: RunningServer) -> int:
    """Resident memory of all processes of a server."""
    pid = server.process.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = (int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in (pid, *workers))
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def assert_quiet(log: Path) -> None:
    lines = [line for line in log.read_text().splitlines() if any(word in line for word in QUIET)]
    assert lines == []


@pytest.fixture(scope="module")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as opened:
        yield opened


@pytest.fixture(scope="module")
def control(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.control) as opened:
        yield opened


def send(channel: grpc.Channel, path: str, payload: bytes) -> str:
    """One call; its status is checked and returned."""
    try:
        channel.unary_unary(path)(payload, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        return checked(error, silent=path in HEALTH_CALLS)  # they are the library's own
    return "OK"


def checked(error: Any, *, silent: bool = False) -> str:
    """What fails says why, in words for callers."""
    code, details = error.code().name, error.details()
    assert code in EXPECTED, (code, details)
    assert details or silent
    assert not INSIDE.search(details), details
    return str(code)


@fuzzed
@given(path=st.sampled_from(sorted(CALLS)), payload=st.binary(max_size=200))
def test_bytes_that_are_no_message(channel: grpc.Channel, path: str, payload: bytes) -> None:
    send(channel, path, payload)


@fuzzed
@given(data=st.data())
def test_messages_with_anything_in_them(channel: grpc.Channel, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(CALLS)))
    send(channel, path, data.draw(any_message(CALLS[path])).SerializeToString())


@fuzzed
@given(request=near_act())
def test_calls_that_are_nearly_right(channel: grpc.Channel, request: Any) -> None:
    send(channel, "/steersman.v1.PolicyService/Act", request.SerializeToString())


@fuzzed
@given(request=near_infer())
def test_inferences_that_are_nearly_right(channel: grpc.Channel, request: Any) -> None:
    send(channel, "/inference.GRPCInferenceService/ModelInfer", request.SerializeToString())


@fuzzed
@given(data=st.data())
def test_calls_that_were_cut_off(channel: grpc.Channel, data: st.DataObject) -> None:
    path, request = data.draw(
        st.one_of(
            st.tuples(st.just("/steersman.v1.PolicyService/Act"), near_act()),
            st.tuples(st.just("/inference.GRPCInferenceService/ModelInfer"), near_infer()),
        )
    )
    payload = request.SerializeToString()
    send(channel, path, payload[: data.draw(st.integers(0, len(payload)))])


@fuzzed
@given(
    requests=st.lists(near_act().map(lambda request: request.SerializeToString()) | st.binary(max_size=60))
)
def test_a_stream_answers_each_and_goes_on(channel: grpc.Channel, requests: list[bytes]) -> None:
    stream = channel.stream_stream("/steersman.v1.PolicyService/ActStream")
    assert len(list(stream(iter(requests), timeout=TIMEOUT_S))) == len(requests)


@fuzzed
@given(data=st.data())
def test_streams_of_anything(channel: grpc.Channel, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(STREAM_CALLS)))
    messages = data.draw(st.lists(any_message(STREAM_CALLS[path]).map(lambda m: m.SerializeToString())))
    try:
        list(channel.stream_stream(path)(iter(messages), timeout=TIMEOUT_S))
    except grpc.RpcError as error:
        checked(error)


@fuzzed
@given(data=st.data())
def test_the_control_service_takes_no_harm(control: grpc.Channel, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(CONTROL_CALLS)))
    message = data.draw(
        any_message(CONTROL_CALLS[path]).map(lambda m: m.SerializeToString()) | st.binary(max_size=80)
    )
    send(control, path, message)


@fuzzed
@given(said=frames())
def test_frames_that_are_no_http2(server: RunningServer, said: bytes) -> None:
    say(server, said)


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_floods(server: RunningServer, flood: bytes) -> None:
    for _ in range(3):
        say(server, PREFACE + frame(SETTINGS, 0, 0, b"") + flood)


def say(server: RunningServer, said: bytes) -> None:
    """Says it on a connection of its own; being disconnected is fine."""
    host, _, port = server.grpc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as connection:
        try:
            connection.sendall(said)
            connection.settimeout(0.01)
            connection.recv(65536)
        except OSError:
            return
