from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from grpc import StatusCode

from steersman.client import (
    ClientError,
    DeadlineExceededError,
    InvalidRequestError,
    NotSupportedError,
    Outcome,
    OverloadedError,
    PolicyNotFoundError,
    ServerUnavailableError,
)
from steersman.v1 import policy_pb2 as pb
from unit.client.conftest import Kit

OBSERVATION = [0.0, 1.0, 0.0, 0.0]


@pytest.fixture
def nowhere() -> str:
    """An address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_unavailable_twice_then_an_answer(kit: Kit) -> None:
    kit.wait(kit.client.describe("gate"))
    kit.toy.fail(StatusCode.UNAVAILABLE, times=2)
    assert kit.wait(kit.client.act("gate", OBSERVATION)).action == 11
    assert kit.world.sleeps == [0.025, 0.05]
    requests = kit.toy.of(pb.ActRequest)
    assert len(requests) == 3
    assert requests[0] == requests[1] == requests[2]  # the same idempotency keys
    assert len(requests[0].idempotency_keys[0]) == 16


def test_a_server_that_is_overloaded_says_when_to_come_back(kit: Kit) -> None:
    kit.wait(kit.client.describe("gate"))
    kit.toy.fail(StatusCode.RESOURCE_EXHAUSTED, pushback="250")
    assert kit.wait(kit.client.act("gate", OBSERVATION)).action == 11
    assert kit.world.sleeps == [0.25]
    for pushback in (None, "-1", "soon"):
        kit.toy.fail(StatusCode.RESOURCE_EXHAUSTED, reason="overload", pushback=pushback)
        with pytest.raises(OverloadedError) as raised:
            kit.wait(kit.client.act("gate", OBSERVATION))
        assert (raised.value.reason, raised.value.retryable) == ("overload", True)
    assert kit.world.sleeps == [0.25]


def test_messages_that_are_too_large_do_not_use_up_the_retries(kit: Kit) -> None:
    kit.wait(kit.client.describe("gate"))
    kit.toy.fail(
        StatusCode.RESOURCE_EXHAUSTED, details="SERVER: Received message larger than max (9 vs. 8)", times=60
    )
    for _ in range(60):
        with pytest.raises(InvalidRequestError, match="fewer rows"):
            kit.wait(kit.client.act("gate", OBSERVATION))
    kit.toy.fail(StatusCode.UNAVAILABLE)
    assert kit.wait(kit.client.act("gate", OBSERVATION)).version


def test_a_message_that_is_too_large_is_no_overload(kit: Kit) -> None:
    client = kit.connect(options=[("grpc.max_send_message_length", 500)])
    with pytest.raises(InvalidRequestError, match="send fewer rows at once") as raised:
        kit.wait(client.act_batch("gate", [OBSERVATION] * 100))
    assert (raised.value.reason, raised.value.retryable) == ("message_size", False)
    assert kit.wait(client.act("gate", OBSERVATION)).action == 11


def test_a_version_may_be_named_by_a_label(kit: Kit) -> None:
    assert kit.wait(kit.client.act("gate", OBSERVATION, version="challenger")).version == 8
    policy = kit.client.policy("gate", version="champion")
    assert kit.wait(policy.act_batch([OBSERVATION])).versions.tolist() == [7]
    assert kit.wait(kit.client.act("gate", OBSERVATION, version=6)).version == 6
    sent = [(request.version, request.version_label) for request in kit.toy.of(pb.ActRequest)]
    assert sent == [(0, "challenger"), (0, "champion"), (6, "")]


def test_a_call_in_flight_ends_with_its_client(kit: Kit) -> None:
    client = kit.connect(ambient=None)
    kit.wait(client.describe("gate"))
    kit.toy.gate.clear()

    async def awaited() -> None:
        call = asyncio.create_task(client.act("gate", OBSERVATION))
        await asyncio.to_thread(kit.toy.entered.acquire)
        await client.close()
        await call

    def blocking() -> None:
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(client.act, "gate", OBSERVATION)
            kit.toy.entered.acquire()
            client.close()
            call.result()

    with pytest.raises(ClientError) as raised:
        kit.wait(awaited() if kit.kind == "asyncio" else blocking())
    assert raised.value.reason == "client_closed"


def test_each_row_has_a_key_of_its_own_call(kit: Kit) -> None:
    client = kit.connect(ambient=None)
    for _ in range(2):
        kit.wait(client.act_batch("gate", [OBSERVATION] * 3))
    keys = [key for request in kit.toy.of(pb.ActRequest) for key in request.idempotency_keys]
    assert len(set(keys)) == 6


def test_without_retries_there_are_no_keys_and_one_attempt(kit: Kit) -> None:
    client = kit.connect(retries=0)
    kit.wait(client.act("gate", OBSERVATION))
    kit.toy.fail(StatusCode.UNAVAILABLE)
    with pytest.raises(ServerUnavailableError):
        kit.wait(client.act("gate", OBSERVATION))
    requests = kit.toy.of(pb.ActRequest)
    assert len(requests) == 2
    assert not any(request.idempotency_keys for request in requests)
    assert kit.world.sleeps == []


def test_learning_and_reporting_are_retried(kit: Kit) -> None:
    kit.toy.fail(StatusCode.UNAVAILABLE)
    assert kit.wait(kit.client.describe("gate")).policy == "gate"
    kit.toy.fail(StatusCode.UNAVAILABLE)
    assert kit.wait(kit.client.report(Outcome(policy="gate", episode_id="e"))).accepted == 1
    first, second = kit.toy.of(pb.ReportOutcomeRequest)
    assert first == second
    assert len(first.outcomes[0].idempotency_key) == 16


@pytest.mark.parametrize("call", ["act", "describe"])
def test_an_unknown_policy_is_named(kit: Kit, call: str) -> None:
    args = ("gat",) if call == "describe" else ("gat", OBSERVATION)
    with pytest.raises(PolicyNotFoundError, match="there is no policy 'gat'") as raised:
        kit.wait(getattr(kit.client, call)(*args))
    assert (raised.value.code, raised.value.reason) == (StatusCode.NOT_FOUND, "policy_not_found")


def test_no_server_is_named_with_its_address(kit: Kit, nowhere: str) -> None:
    client = kit.connect(nowhere)
    with pytest.raises(
        ServerUnavailableError, match=rf"no server answers at {nowhere}: .*is it running"
    ) as raised:
        kit.wait(client.act("gate", OBSERVATION))
    assert "\n" not in str(raised.value)
    assert raised.value.retryable
    assert len(kit.world.sleeps) == 3


def test_a_server_that_does_not_answer_in_time(kit: Kit) -> None:
    # It accepts connections and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = kit.connect(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)
        with pytest.raises((DeadlineExceededError, ServerUnavailableError), match="127") as raised:
            kit.wait(client.act("gate", OBSERVATION))
    assert raised.value.retryable


def test_what_the_server_does_not_offer(kit: Kit) -> None:
    kit.toy.fail(StatusCode.UNIMPLEMENTED, details="outcomes are not yet recorded", reason="report_outcome")
    with pytest.raises(NotSupportedError, match="not yet recorded"):
        kit.wait(kit.client.report([]))


def test_a_closed_client_says_so(kit: Kit) -> None:
    client = kit.connect()
    kit.wait(client.act("gate", OBSERVATION))
    kit.wait(client.close())
    with pytest.raises(ClientError, match="closed") as raised:
        kit.wait(client.act("gate", OBSERVATION))
    assert raised.value.reason == "client_closed"
    kit.wait(client.close())  # twice does no harm


def test_a_client_is_closed_by_its_block(kit: Kit) -> None:
    client = kit.enter(kit.connect())
    kit.leave(client)
    with pytest.raises(ClientError, match="closed"):
        kit.wait(client.policies())


def test_errors_survive_pickling(kit: Kit) -> None:
    import pickle

    error = PolicyNotFoundError("gone", reason="policy_not_found")
    copy: Any = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.code, copy.reason, copy.retryable) == (
        "gone",
        error.code,
        "policy_not_found",
        False,
    )
