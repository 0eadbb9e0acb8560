"""Calls over a stream: the answers and errors of single calls, many at once, and over its breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from steersman.client import (
    ClientError,
    DeadlineExceededError,
    EpisodeState,
    InvalidRequestError,
    PolicyNotFoundError,
    RowFailedError,
    ServerUnavailableError,
)
from steersman.client.memory import MAX_EPISODES, EpisodeMemory
from steersman.client.streams import Room
from steersman.v1 import policy_pb2 as pb
from support.simulated import SimulatedSignal
from support.toy_server import Toy, toy_server
from unit.client.conftest import Kit

OBSERVATION = [0.0, 1.0, 0.0, 0.0]
FRAME = [[1, 0], [0, 0]]


@pytest.fixture
def stream(kit: Kit) -> Iterator[Any]:
    stream = kit.connect(ambient=None).stream()
    yield stream
    kit.wait(stream.close())


def test_the_server_learns_within_what_time_an_answer_is_wanted(kit: Kit) -> None:
    stream = kit.client.stream()
    kit.wait(stream.act("gate", OBSERVATION, timeout=2.5))
    kit.wait(kit.client.act("gate", OBSERVATION, timeout=2.5))
    endless = kit.connect(timeout=None).stream()
    kit.wait(endless.act("gate", OBSERVATION))
    kit.wait(endless.act("gate", OBSERVATION, timeout=5e9))
    said = [request.timeout_nanos for request in kit.toy.of(pb.ActRequest)]
    assert said == [2_500_000_000, 0, 0, 10**18]
    kit.wait(stream.close())
    kit.wait(endless.close())


def test_a_stream_answers_as_single_calls_do(kit: Kit, stream: Any) -> None:
    for policy, observation, options in [
        (
            "gate",
            OBSERVATION,
            {"action_mask": [1, 0, 1], "mode": "sampled", "evidence": ("value", "entropy")},
        ),
        ("gate", [0.0, float("nan"), 0.0, 0.0], {"episode_id": "canary-1"}),
        ("arm", {"pose": [1.0, 2.0], "gear": 3}, {"version": "champion"}),
    ]:
        alone = kit.wait(kit.client.act(policy, observation, **options))
        streamed = kit.wait(stream.act(policy, observation, **options))
        assert np.array_equal(streamed.action, alone.action)
        for field in ("source", "reason", "version", "lane", "log_prob", "propensity", "value", "entropy"):
            assert getattr(streamed, field) == getattr(alone, field)
        assert len(streamed.interventions) == len(alone.interventions)
    batch = kit.wait(stream.act_batch("gate", np.eye(4)[:3]))
    assert batch.actions.tolist() == [10, 11, 12]
    assert kit.toy.streams == 1
    assert len({r.correlation_id for r in kit.toy.of(pb.ActRequest) if r.correlation_id}) == 4


@pytest.mark.parametrize(
    ("call", "kind", "reason"),
    [
        (("gate", OBSERVATION, {"action_mask": [0, 0, 0]}), RowFailedError, "mask_all_false"),
        (("gone", OBSERVATION, {}), PolicyNotFoundError, "policy_not_found"),
        (("gate", [0.0], {}), InvalidRequestError, "observation_shape"),
    ],
)
def test_errors_are_those_of_single_calls(kit: Kit, stream: Any, call: Any, kind: Any, reason: str) -> None:
    policy, observation, options = call
    errors = []
    for caller in (kit.client, stream):
        with pytest.raises(kind) as raised:
            kit.wait(caller.act(policy, observation, **options))
        errors.append(raised.value)
    assert errors[0].reason == errors[1].reason == reason
    assert (errors[0].code, str(errors[0])) == (errors[1].code, str(errors[1]))
    assert kit.wait(stream.act("gate", OBSERVATION)).action == 11  # it goes on


def all_of(kit: Kit, calls: list[Any]) -> list[Any]:
    """The results or errors of calls that are made at the same time; each is a function and its arguments."""
    if kit.kind == "asyncio":

        async def gathered() -> list[Any]:
            return await asyncio.gather(*(call(*args) for call, *args in calls), return_exceptions=True)

        return kit.wait(gathered())
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call, *args) for call, *args in calls]
        return [future.exception() or future.result() for future in futures]


def test_answers_may_come_in_another_order(kit: Kit, stream: Any) -> None:
    kit.wait(stream.act("gate", OBSERVATION))
    kit.toy.shuffle = 4
    results = all_of(kit, [(stream.act, "gate", np.eye(4)[i % 3]) for i in range(8)])
    assert [result.action for result in results] == [10 + i % 3 for i in range(8)]
    assert kit.toy.streams == 1


def test_no_more_are_in_flight_than_wanted(kit: Kit) -> None:
    stream = kit.connect(ambient=None).stream(max_in_flight=3)
    results = all_of(kit, [(stream.act, "gate", np.eye(4)[i % 3]) for i in range(20)])
    assert [result.action for result in results] == [10 + i % 3 for i in range(20)]
    assert stream._calls.caller._room.places == 3
    with pytest.raises(InvalidRequestError, match="max_in_flight"):
        kit.client.stream(max_in_flight=0)


def test_a_late_answer_is_dropped_and_its_place_given_back(kit: Kit) -> None:
    stream = kit.connect(ambient=None).stream(max_in_flight=1)
    kit.wait(stream.act("gate", OBSERVATION))
    kit.toy.gate.clear()
    with pytest.raises(DeadlineExceededError, match=r"within 0\.05 s"):
        kit.wait(stream.act("gate", OBSERVATION, timeout=0.05))
    kit.toy.gate.set()
    assert kit.wait(stream.act("gate", [0.0, 0.0, 1.0, 0.0])).action == 12
    assert kit.toy.streams == 1


def test_a_broken_stream_is_opened_again_and_its_calls_are_repeated(kit: Kit, stream: Any) -> None:
    kit.wait(stream.act("gate", OBSERVATION))
    kit.toy.fail(StatusCode.UNAVAILABLE)
    assert kit.wait(stream.act("gate", OBSERVATION)).action == 11
    assert kit.toy.streams == 2
    _, first, second = kit.toy.of(pb.ActRequest)
    assert first.idempotency_keys == second.idempotency_keys


def test_what_breaks_the_stream_for_all_is_asked_alone(kit: Kit, stream: Any) -> None:
    kit.wait(stream.act("gate", OBSERVATION))
    kit.toy.poison = 9.0
    calls = [(stream.act, "gate", [9.0 * (i == 2), 1.0, 0.0, 0.0]) for i in range(4)]
    results = all_of(kit, calls)
    assert isinstance(results.pop(2), InvalidRequestError)
    assert [result.action for result in results] == [11, 11, 11]


def test_a_server_without_streams_is_asked_call_by_call(kit: Kit, stream: Any) -> None:
    kit.wait(stream.act("gate", OBSERVATION))
    kit.toy.fail(StatusCode.UNIMPLEMENTED)
    assert kit.wait(stream.act("gate", OBSERVATION)).action == 11
    assert kit.toy.of(pb.ActRequest)[-1].idempotency_keys == kit.toy.of(pb.ActRequest)[-2].idempotency_keys


def test_an_episode_is_known_by_its_name(kit: Kit, stream: Any) -> None:
    steps = [kit.wait(stream.act("memory", FRAME, episode_id="e1")).action[1] for _ in range(4)]
    assert steps == [0, 1, 2, 0]
    kit.toy.fail(StatusCode.UNAVAILABLE)  # the stream breaks, the episode goes on by its token
    assert kit.wait(stream.act("memory", FRAME, episode_id="e1")).action[1] == 1
    assert kit.toy.streams == 2
    stream.forget("memory", "e1")
    assert kit.wait(stream.act("memory", FRAME, episode_id="e1")).action[1] == 0
    batch = kit.wait(stream.act_batch("memory", [FRAME] * 3, episode_ids=["e1", "e2", ""]))
    assert batch.actions[:, 1].tolist() == [1, 0, 0]


def test_a_policy_and_its_episodes_go_over_a_stream(kit: Kit) -> None:
    policy = kit.enter(kit.connect(ambient=None).policy("memory", version="champion").stream(max_in_flight=2))
    episode = policy.episode("e")
    assert [kit.wait(episode.act(FRAME)).action[1] for _ in range(3)] == [0, 1, 2]
    assert kit.wait(policy.act(FRAME, episode_id="other")).action[1] == 0
    policy.forget("other")
    assert kit.wait(policy.act(FRAME, episode_id="other")).action[1] == 0
    assert kit.toy.streams == 1
    assert {request.version_label for request in kit.toy.of(pb.ActRequest)} == {"champion"}
    kit.leave(policy)
    with pytest.raises(ClientError, match="open another") as raised:
        kit.wait(policy.act(FRAME))
    assert raised.value.reason == "stream_closed"


def test_a_handle_of_a_policy_on_a_stream_uses_that(kit: Kit, stream: Any) -> None:
    policy = stream.policy("gate", mode="sampled")
    assert kit.wait(policy.act(OBSERVATION)).source == "exploration"
    assert kit.toy.streams == 1


def test_an_episode_takes_one_step_at_a_time(kit: Kit, stream: Any) -> None:
    kit.wait(stream.act("memory", FRAME, episode_id="e"))
    with pytest.raises(InvalidRequestError, match="in flight") as raised:
        kit.wait(stream.act_batch("memory", [FRAME] * 2, episode_ids=["e", "e"]))
    assert raised.value.reason == "episode_in_flight"
    assert kit.wait(stream.act("memory", FRAME, episode_id="e")).action[1] == 1


def test_a_closed_client_ends_its_streams(kit: Kit) -> None:
    client = kit.connect(ambient=None)
    stream = client.stream()
    kit.wait(stream.act("gate", OBSERVATION))
    kit.wait(client.close())
    with pytest.raises(ClientError, match="client is closed"):
        kit.wait(stream.act("gate", OBSERVATION))


def test_no_server_is_no_stream(kit: Kit) -> None:
    with toy_server(Toy()) as gone:
        client = kit.connect(gone, retries=1)
        kit.wait(client.describe("gate"))
    with pytest.raises(ServerUnavailableError, match="no server answers"):
        kit.wait(client.stream().act("gate", OBSERVATION))


def test_a_stream_moves_to_another_replica_when_its_own_goes(kit: Kit) -> None:
    with toy_server(Toy()) as first, toy_server(second := Toy()) as other:
        client = kit.connect([first, other], ambient=None)
        stream = client.stream()
        kit.wait(stream.act("memory", FRAME, episode_id="e"))
        client._calls.caller.replicas.all[0].rests_until = float("inf")
        assert kit.wait(stream.act("memory", FRAME, episode_id="e")).action[1] == 1
        assert second.streams == 1
        assert [replica.in_flight for replica in client.replicas] == [0, 0]


@given(st.lists(st.integers(0, 3), max_size=50))
def test_places_are_never_lost_or_made(events: list[int]) -> None:
    room = Room(2, SimulatedSignal)
    inside: list[Any] = []
    waiting: list[SimulatedSignal] = []
    for event in events:
        if event < 2:
            signal: Any = room.enter()
            (inside if signal is None else waiting).append(signal)
        elif event == 2 and inside:
            room.leave(inside.pop(0))
        elif event == 3 and waiting:
            room.leave(waiting.pop())
        inside += [signal for signal in waiting if signal.is_set()]
        waiting = [signal for signal in waiting if not signal.is_set()]
        assert len(inside) + room.places == 2
        assert not (waiting and room.places)


def test_only_so_many_episodes_are_remembered() -> None:
    memory = EpisodeMemory()
    for number in range(MAX_EPISODES + 1):
        with memory.step("p", [f"e{number}"]) as (state,):
            assert isinstance(state, EpisodeState)
            state.advance(b"t")
    with memory.step("p", ["e0", f"e{MAX_EPISODES}", EpisodeState("own", 3)]) as states:
        assert [state.step for state in states if isinstance(state, EpisodeState)] == [0, 1, 3]
