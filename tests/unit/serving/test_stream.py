"""One `ActStream` without a transport: its memory of tokens, and the pump that reads on meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.serving.deciding.call import Call
from steersman.serving.decision import Decisions
from steersman.serving.errors import CallError, Code, invalid
from steersman.serving.rpc.methods import Outcome
from steersman.serving.rpc.pump import StreamPump
from steersman.serving.rpc.stream import ActSession, EpisodeMemory
from steersman.v1 import policy_pb2 as pb

OBSERVATION = pb.Tensor(values=[1, 2, 3, 4])
TIMEOUT_S = 20.0


def decisions(tokens: Sequence[bytes]) -> Decisions:
    """As many rows as tokens."""
    rows = len(tokens)
    return Decisions(
        actions=np.zeros(rows, np.int64),
        sources=np.ones(rows, np.int8),
        reasons=np.zeros(rows, np.int8),
        versions=np.ones(rows, np.int64),
        lanes=["stable"] * rows,
        decision_ids=np.zeros((rows, 16), np.uint8),
        log_probs=np.zeros(rows, np.float32),
        propensities=np.zeros(rows, np.float64),
        episode_tokens=list(tokens),
    )


def step(session: ActSession, request: pb.ActRequest, tokens: Sequence[bytes]) -> list[bytes]:
    """The tokens that the engine gets for a request which it answers with `tokens`."""
    read, call = session.read(request.SerializeToString())
    assert isinstance(call, Call)
    session.answer(read, decisions(tokens))
    return list(call.episode_tokens)


def act(*episodes: str, policy: str = "toy", **fields: Any) -> pb.ActRequest:
    return pb.ActRequest(policy=policy, observation=OBSERVATION, episode_ids=episodes, **fields)


def test_a_row_without_a_token_goes_on_where_its_episode_was() -> None:
    session = ActSession(10)
    assert step(session, act("a", "b"), [b"a1", b"b1"]) == []
    assert step(session, act("b"), [b"b2"]) == [b"b1"]
    assert step(session, act("a", "b", "c"), [b"a2", b"b3", b"c1"]) == [b"a1", b"b2", b""]


def test_a_token_that_is_given_comes_before_one_that_is_remembered() -> None:
    session = ActSession(10)
    step(session, act("a"), [b"a1"])
    assert step(session, act("a", episode_tokens=[b"mine"]), [b"a2"]) == [b"mine"]


def test_an_episode_that_begins_anew_has_no_token() -> None:
    session = ActSession(10)
    step(session, act("a"), [b"a1"])
    assert step(session, act("a", episode_starts=[True]), [b"a2"]) == []
    assert step(session, act("a"), [b"a3"]) == [b"a2"]


def test_the_same_name_with_another_policy_is_another_episode() -> None:
    session = ActSession(10)
    step(session, act("a"), [b"a1"])
    assert step(session, act("a", policy="other"), [b"o1"]) == []


def test_a_row_that_failed_leaves_the_token_before() -> None:
    session = ActSession(10)
    step(session, act("a", "b"), [b"a1", b"b1"])
    step(session, act("a", "b"), [b"", b"b2"])
    assert step(session, act("a"), [b"a2"]) == [b"a1"]


def test_columns_of_the_wrong_length_are_left_for_the_check() -> None:
    session = ActSession(10)
    step(session, act("a", "b"), [b"a1", b"b1"])
    _, call = session.read(act("a", "b", episode_tokens=[b"x"]).SerializeToString())
    assert isinstance(call, Call)
    assert list(call.episode_tokens) == [b"x"]


@given(st.lists(st.sampled_from("abcdef"), max_size=60), st.integers(1, 4))
def test_the_episode_unused_for_longest_is_forgotten(asked: list[str], most: int) -> None:
    memory = EpisodeMemory(most)
    recent: dict[str, bytes] = {}
    for number, episode in enumerate(asked):
        request = act(episode)
        memory.fill(request)
        assert list(request.episode_tokens) == ([recent[episode]] if episode in recent else [])
        token = str(number).encode()
        memory.keep(request, decisions([token]))
        recent.pop(episode, None)
        recent[episode] = token
        while len(recent) > most:
            recent.pop(next(iter(recent)))
        assert len(memory) == len(recent)


@pytest.mark.parametrize(
    ("timeout_ns", "waits_ns"), [(0, None), (5_000_000, 5_000_000), (10**18, 10**18), (2**63 - 1, None)]
)
def test_a_request_may_say_how_long_its_caller_waits(timeout_ns: int, waits_ns: int | None) -> None:
    _, call = ActSession(10).read(act("a", timeout_nanos=timeout_ns).SerializeToString())
    assert isinstance(call, Call)
    assert (call.deadline_ns - call.arrived_ns if call.deadline_ns else None) == waits_ns


def test_nobody_waits_less_than_no_time() -> None:
    request, error = ActSession(10).read(act("a", timeout_nanos=-1, correlation_id=7).SerializeToString())
    assert isinstance(error, CallError)
    assert (error.code, error.reason, request.correlation_id) == (Code.INVALID_ARGUMENT, "timeout", 7)


def test_bytes_that_are_no_request_are_answered() -> None:
    session = ActSession(10)
    request, error = session.read(b"\xff\xff\xff")
    assert isinstance(error, CallError)
    payload, failed = session.answer(request, error)
    assert failed is error
    assert pb.ActResponse.FromString(payload).status.reason == "malformed_message"


def test_a_hint_when_to_try_again_goes_over_the_stream() -> None:
    error = CallError(Code.RESOURCE_EXHAUSTED, "overload", "full", retry_after_s=0.25)
    payload, _ = ActSession(1).answer(pb.ActRequest(correlation_id=3), error)
    answer = pb.ActResponse.FromString(payload)
    assert (answer.correlation_id, answer.status.retry_after_nanos) == (3, 250_000_000)


class Numbers:
    """A session of bytes: the call's tag is the payload, and so is the answer; `bad` is no request."""

    def read(self, payload: bytes) -> tuple[bytes, Call | CallError]:
        return payload, invalid("bad", "bad") if payload == b"bad" else Call("toy", {}, tag=payload)

    def answer(self, request: bytes, outcome: Outcome) -> tuple[bytes, CallError | None]:
        failed = outcome if isinstance(outcome, CallError) else None
        return request, failed


class Wire:
    """A stream that is driven by hand."""

    def __init__(self, *, most: int, ordered: bool = False) -> None:
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.decided: deque[tuple[bytes, asyncio.Future[Any]]] = deque()
        self.codes: list[Code | None] = []
        pump = StreamPump(Numbers(), self.submit, self.codes.append, most=most, ordered=ordered)
        self.running = asyncio.create_task(pump.run(self.incoming.get, self.answers.put))

    def submit(self, call: Call, size: int = 0) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.decided.append((call.tag, future))
        return future

    async def send(self, *payloads: bytes | None) -> None:
        for payload in payloads:
            self.incoming.put_nowait(payload)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    def waiting(self) -> list[bytes]:
        return [tag for tag, future in self.decided if not future.done()]

    async def decide(self, tag: bytes) -> None:
        next(future for found, future in self.decided if found == tag).set_result(decisions([b""]))
        await self.settle()

    def taken(self) -> list[bytes]:
        return [self.answers.get_nowait() for _ in range(self.answers.qsize())]

    async def end(self) -> None:
        await asyncio.wait_for(self.running, TIMEOUT_S)


async def test_the_stream_is_read_on_and_answers_go_out_as_they_are_ready() -> None:
    wire = Wire(most=10)
    await wire.send(b"1", b"2", b"3")
    assert wire.waiting() == [b"1", b"2", b"3"]
    await wire.decide(b"3")
    await wire.decide(b"1")
    assert wire.taken() == [b"3", b"1"]
    await wire.send(None)
    await wire.decide(b"2")
    await wire.end()
    assert wire.taken() == [b"2"]


async def test_or_in_their_order() -> None:
    wire = Wire(most=10, ordered=True)
    await wire.send(b"1", b"2", None)
    await wire.decide(b"2")
    assert wire.taken() == []
    await wire.decide(b"1")
    await wire.end()
    assert wire.taken() == [b"1", b"2"]


async def test_a_bad_request_is_answered_and_the_stream_goes_on() -> None:
    wire = Wire(most=2)
    await wire.send(b"bad", b"bad", b"bad", b"1", None)
    await wire.decide(b"1")
    await wire.end()
    assert wire.taken() == [b"bad"] * 3 + [b"1"]
    assert wire.codes == [Code.INVALID_ARGUMENT] * 3 + [None]


@pytest.mark.parametrize("ordered", [False, True])
async def test_so_many_calls_are_in_flight_and_no_more(ordered: bool) -> None:
    wire = Wire(most=2, ordered=ordered)
    await wire.send(b"1", b"2", b"3", b"4")
    assert wire.waiting() == [b"1", b"2"]
    assert wire.incoming.qsize() == 2
    await wire.decide(b"1")
    assert wire.waiting() == [b"2", b"3"]
    wire.running.cancel()
    await asyncio.gather(wire.running, return_exceptions=True)


async def test_a_caller_that_does_not_take_its_answers_is_not_read_any_further() -> None:
    wire = Wire(most=2)
    wire.answers = asyncio.Queue(maxsize=1)
    wire.running.cancel()
    pump = StreamPump(Numbers(), wire.submit, wire.codes.append, most=2)
    wire.running = asyncio.create_task(pump.run(wire.incoming.get, wire.answers.put))
    await wire.send(b"bad", b"bad", b"bad", b"bad", b"bad", b"bad")
    assert wire.incoming.qsize() == 3
    wire.running.cancel()
    await asyncio.gather(wire.running, return_exceptions=True)


async def test_a_stream_that_breaks_gives_up_its_calls() -> None:
    wire = Wire(most=5)
    await wire.send(b"1", b"2")
    wire.running.cancel()
    await asyncio.gather(wire.running, return_exceptions=True)
    assert all(future.cancelled() for _, future in wire.decided)


async def test_an_empty_stream_ends() -> None:
    wire = Wire(most=1)
    await wire.send(None)
    await wire.end()
    assert wire.taken() == []
