"""The core alone, without a server: effects out, replies in."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from steersman.client.core import Caller
from steersman.client.drivers import BLOCKING_TOOLS, AwaitingDriver, BlockingDriver
from steersman.client.effects import Ambient, Send, Steps, Wait
from steersman.client.errors import (
    ClientError,
    DeadlineExceededError,
    InvalidRequestError,
    NotSupportedError,
    OverloadedError,
    PermissionDeniedError,
    PolicyNotFoundError,
    RowFailedError,
    ServerUnavailableError,
    UnauthenticatedError,
)
from steersman.client.failures import Failure, read_failure
from steersman.v1 import policy_pb2 as pb
from unit.client.conftest import FakeWorld

REQUEST = pb.ActRequest(policy="gate")
ANSWER = pb.ActResponse(correlation_id=3)
AWAY = Failure(StatusCode.UNAVAILABLE, "connection refused")


def perform(
    steps: Steps[Any], world: FakeWorld, replies: list[Any], took: float = 0.0
) -> tuple[Any, list[Any]]:
    """The result and the effects, with these replies to what was sent."""
    effects: list[Any] = []
    reply: Any = None
    while True:
        try:
            effect = steps.send(reply)
        except StopIteration as end:
            return end.value, effects
        effects.append(effect)
        world.now += effect.seconds if isinstance(effect, Wait) else took
        reply = None if isinstance(effect, Wait) else replies.pop(0)


def caller(world: FakeWorld, *, timeout: float | None = 5.0, retries: int = 3) -> Caller:
    return Caller(("host:1",), timeout, retries, BLOCKING_TOOLS, world.ambient())


def test_an_answer_is_returned_after_one_send() -> None:
    world = FakeWorld()
    core = caller(world)
    result, effects = perform(core.call("Act", REQUEST, core.deadline(None)), world, [ANSWER])
    assert result is ANSWER
    assert effects == [Send("Act", REQUEST, 5.0)]


def test_pauses_double_and_the_deadline_covers_all_attempts() -> None:
    world = FakeWorld()
    core = caller(world)
    replies = [AWAY, AWAY, AWAY, ANSWER]
    result, effects = perform(core.call("Act", REQUEST, core.deadline(2.0)), world, replies, took=0.25)
    assert result is ANSWER
    assert [e.seconds for e in effects if isinstance(e, Wait)] == [0.025, 0.05, 0.1]
    assert [e.timeout for e in effects if isinstance(e, Send)] == pytest.approx([2.0, 1.725, 1.425, 1.075])


@pytest.mark.parametrize(("retries", "repeatable", "sends"), [(3, True, 4), (0, True, 1), (3, False, 1)])
def test_retries_end(retries: int, repeatable: bool, sends: int) -> None:
    world = FakeWorld()
    core = caller(world, retries=retries)
    replies = [AWAY] * 9
    with pytest.raises(ServerUnavailableError, match="host:1") as raised:
        perform(core.call("Act", REQUEST, core.deadline(None), repeatable=repeatable), world, replies)
    assert 9 - len(replies) == sends
    assert raised.value.retryable
    assert ("4 attempts" in raised.value.message) == (sends == 4)


@pytest.mark.parametrize(
    "code", [code for code in StatusCode if code not in {StatusCode.OK, StatusCode.UNAVAILABLE}]
)
def test_nothing_but_unavailable_is_retried(code: StatusCode) -> None:
    world = FakeWorld()
    core = caller(world)
    replies = [Failure(code, "no"), ANSWER]
    with pytest.raises(ClientError) as raised:
        perform(core.call("Act", REQUEST, core.deadline(None)), world, replies)
    assert replies == [ANSWER]
    assert raised.value.code == code


def test_no_retry_begins_after_the_deadline() -> None:
    world = FakeWorld()
    core = caller(world)
    replies = [AWAY, AWAY]
    with pytest.raises(ServerUnavailableError):
        perform(core.call("Act", REQUEST, core.deadline(1.0)), world, replies, took=0.99)
    assert len(replies) == 1
    assert world.now == pytest.approx(100.99)


def test_a_deadline_that_has_passed_sends_nothing() -> None:
    world = FakeWorld()
    core = caller(world)
    deadline = core.deadline(1.0)
    world.now += 1.0
    with pytest.raises(DeadlineExceededError, match="host:1 did not answer Act within 1 s"):
        perform(core.call("Act", REQUEST, deadline), world, [])


def test_without_a_timeout_there_is_no_deadline() -> None:
    world = FakeWorld()
    core = caller(world, timeout=None)
    _, effects = perform(core.call("Act", REQUEST, core.deadline(None)), world, [AWAY, ANSWER], took=1e6)
    assert effects[0].timeout is None


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(InvalidRequestError, match="timeout"):
        caller(FakeWorld()).deadline(timeout)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_stay_within_their_bounds(attempt: int, chance: float) -> None:
    core = Caller(("host:1",), None, 3, BLOCKING_TOOLS, Ambient(uniform=lambda: chance))
    assert 0 <= core.pause(attempt) <= min(1.0, 0.05 * 2 ** min(attempt, 20))


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (
            Failure(StatusCode.NOT_FOUND, "no policy 'x'", "policy_not_found"),
            PolicyNotFoundError,
            "no policy 'x'",
        ),
        (Failure(StatusCode.INVALID_ARGUMENT, "bad", "dtype"), InvalidRequestError, "bad"),
        (Failure(StatusCode.OUT_OF_RANGE, "bad"), InvalidRequestError, "bad"),
        (Failure(StatusCode.UNIMPLEMENTED, "", ""), NotSupportedError, "host:1 does not offer Act"),
        (Failure(StatusCode.UNIMPLEMENTED, "not yet", "tokens"), NotSupportedError, "not yet"),
        (
            Failure(StatusCode.UNAVAILABLE, "not loaded", "policy_not_ready"),
            ServerUnavailableError,
            "not loaded",
        ),
        (Failure(StatusCode.RESOURCE_EXHAUSTED, "busy"), OverloadedError, "busy"),
        (Failure(StatusCode.UNAUTHENTICATED, "who?"), UnauthenticatedError, "who?"),
        (Failure(StatusCode.PERMISSION_DENIED, "not you"), PermissionDeniedError, "not you"),
        (Failure(StatusCode.ABORTED, "changed"), ClientError, "changed"),
        (Failure(StatusCode.INTERNAL, ""), ClientError, "internal"),
        (Failure(StatusCode.INTERNAL, "model", "model_error", row=True), RowFailedError, "model"),
        (Failure(StatusCode.INTERNAL, "model", "model_error"), ClientError, "model"),
        (Failure(StatusCode.INTERNAL, row=True), RowFailedError, "internal"),
        (
            Failure(
                StatusCode.UNAVAILABLE, "failed to connect to all addresses; last: a: Connection refused"
            ),
            ServerUnavailableError,
            "no server answers at host:1: Connection refused; is it running there?",
        ),
    ],
)
def test_each_failure_has_its_error(failure: Failure, kind: type[ClientError], words: str) -> None:
    core = caller(FakeWorld())
    error = core.error(failure, "Act", core.deadline(None))
    assert type(error) is kind
    assert words in str(error)
    assert (error.code, error.reason) == (failure.code, failure.reason)


@pytest.mark.parametrize("code", [code for code in StatusCode if code != StatusCode.OK])
@pytest.mark.parametrize("retryable", [False, True])
def test_the_servers_mark_makes_a_row_failed_error_whatever_code_and_reason(
    code: StatusCode, retryable: bool
) -> None:
    core = caller(FakeWorld())
    failure = Failure(code, "row", "of_a_newer_server", row=True, retryable=retryable)
    error = core.error(failure, "Act", core.deadline(None))
    assert type(error) is RowFailedError
    assert (error.code, error.reason, error.message) == (code, "of_a_newer_server", "row")
    assert error.retryable == retryable


def test_what_the_server_marks_as_retryable_is() -> None:
    core = caller(FakeWorld())
    error = core.error(Failure(StatusCode.INTERNAL, "x", retryable=True), "Act", core.deadline(None))
    assert error.retryable


def test_only_what_may_pass_is_retryable() -> None:
    core = caller(FakeWorld())
    deadline = core.deadline(None)
    retryable = {
        code
        for code in StatusCode
        if code != StatusCode.OK and core.error(Failure(code), "Act", deadline).retryable
    }
    assert retryable == {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.RESOURCE_EXHAUSTED,
    }


def conversation() -> Steps[list[Any]]:
    """Steps that use every kind of effect and reply."""
    first = yield Send("Act", REQUEST, 1.0)
    nothing = yield Wait(0.5)
    second = yield Send("GetPolicy", pb.GetPolicyRequest(policy="p"), None, wait_for_ready=True, replica=1)
    return [first, nothing, second]


class Refused(grpc.RpcError):
    """As grpcio raises it."""

    def code(self) -> StatusCode:
        return StatusCode.NOT_FOUND

    def details(self) -> str:
        return "gone"

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        marks = (("steersman-row", "0"), ("steersman-retryable", "1"), ("grpc-retry-pushback-ms", "250"))
        return (("other", "x"), ("steersman-reason", "policy_not_found"), *marks)


class FakeWire:
    """Methods that note how they were called."""

    closed = False

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.log: list[Any] = []

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", "Bearer x"),)

    def method(self, rpc: str, replica: int) -> Any:
        def send(request: Any, **kwargs: Any) -> Any:
            self.log.append((rpc, replica, request, kwargs))
            if rpc == "Act":
                raise Refused
            return ANSWER

        async def async_send(request: Any, **kwargs: Any) -> Any:
            return send(request, **kwargs)

        return send if self.kind == "blocking" else async_send


def test_both_drivers_perform_the_same_effects() -> None:
    wires = [FakeWire("blocking"), FakeWire("asyncio")]
    world = FakeWorld()
    blocking = BlockingDriver(wires[0], world.ambient()).run(conversation())
    awaited = asyncio.run(AwaitingDriver(wires[1], world.ambient()).run(conversation()))
    failure = Failure(
        StatusCode.NOT_FOUND, "gone", "policy_not_found", row=False, retryable=True, pushback=0.25
    )
    assert blocking == awaited == [failure, None, ANSWER]
    assert wires[0].log == wires[1].log
    assert [(rpc, replica) for rpc, replica, _, _ in wires[0].log] == [("Act", 0), ("GetPolicy", 1)]
    assert world.sleeps == [0.5, 0.5]


class Ended(Refused):
    """As grpcio raises what a server that stops had not begun: without details, without metadata."""

    def code(self) -> StatusCode:
        return StatusCode.CANCELLED

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


def test_a_call_that_a_server_leaves_unasked_found_nobody_there() -> None:
    assert read_failure(Ended()).code is StatusCode.UNAVAILABLE


def test_a_hint_in_our_own_words_is_as_good_as_grpcs() -> None:
    class Busy(Refused):
        def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
            return (("steersman-retry-after-ms", "20"),)

    assert read_failure(Busy()).pushback == 0.02
