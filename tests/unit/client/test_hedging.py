"""A second attempt for slow calls, in simulated time and with real servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from steersman.client import DeadlineExceededError, InvalidRequestError, ServerUnavailableError
from steersman.client.core import Caller
from steersman.client.failures import Failure
from steersman.client.replicas import Health
from steersman.v1 import policy_pb2 as pb
from support.simulated import Simulation, Task
from support.toy_server import Toy, toy_server
from unit.client.conftest import Kit

REQUEST = pb.ActRequest(policy="gate", idempotency_keys=[b"k"])
FIRST, SECOND = pb.ActResponse(correlation_id=1), pb.ActResponse(correlation_id=2)
AWAY = Failure(StatusCode.UNAVAILABLE, "connection refused")
INVALID = Failure(StatusCode.INVALID_ARGUMENT, "bad")
OBSERVATION = [0.0, 1.0, 0.0, 0.0]


def raced(
    *replies: tuple[Any, float], after: float = 0.1, timeout: float | None = 5.0, retries: int = 0
) -> tuple[Task, Simulation, Caller]:
    """One call whose attempts are answered so, each after so many seconds."""
    rest = iter(replies)
    world = Simulation(lambda send: next(rest))
    core = Caller(["host0:1", "host1:1"], timeout, retries, world.tools(), world.ambient(), after)
    task = world.start(core.call("Act", REQUEST, core.deadline(None)))
    world.run()
    assert [replica.in_flight for replica in core.replicas.all] == [0, 0]
    return task, world, core


def test_a_quick_call_is_made_once() -> None:
    task, world, _ = raced((FIRST, 0.05))
    assert task.result is FIRST
    assert len(world.sent) == 1
    assert task.ended_at == pytest.approx(0.05)


def test_a_slow_call_is_made_at_another_replica_with_the_same_keys_and_the_first_answer_wins() -> None:
    task, world, _ = raced((FIRST, 3.0), (SECOND, 0.2))
    assert task.result is SECOND
    assert task.ended_at == pytest.approx(0.3)
    (_, first), (time, second) = world.sent
    assert time == pytest.approx(0.1)
    assert (first.replica, second.replica) == (0, 1)
    assert first.request is second.request
    assert second.timeout == pytest.approx(4.9)
    assert [attempt.cancelled for attempt in world.attempts] == [True, False]


def test_the_first_attempt_may_still_win() -> None:
    task, world, _ = raced((FIRST, 0.2), (SECOND, 3.0))
    assert task.result is FIRST
    assert [attempt.cancelled for attempt in world.attempts] == [False, True]


@pytest.mark.parametrize(
    ("replies", "winner"),
    [
        ([(FIRST, 1.0), (AWAY, 0.1)], FIRST),  # the other may still answer
        ([(AWAY, 0.5), (SECOND, 2.0)], SECOND),
        ([(Failure(StatusCode.RESOURCE_EXHAUSTED), 0.5), (SECOND, 2.0)], SECOND),
    ],
)
def test_one_failure_does_not_end_the_race(replies: list[Any], winner: Any) -> None:
    assert raced(*replies)[0].result is winner


def test_two_failures_do() -> None:
    task, _, core = raced((AWAY, 1.0), (AWAY, 1.0))
    assert isinstance(task.error, ServerUnavailableError)
    assert [replica.failures for replica in core.replicas.all] == [1, 1]


def test_an_error_that_every_replica_would_give_ends_the_race() -> None:
    task, _, _ = raced((FIRST, 3.0), (INVALID, 0.1))
    assert isinstance(task.error, InvalidRequestError)
    assert task.ended_at == pytest.approx(0.2)


def test_a_quick_failure_goes_to_the_other_replica_without_a_hedge() -> None:
    task, world, _ = raced((AWAY, 0.01), (SECOND, 0.01), retries=1)
    assert task.result is SECOND
    assert [time for time, _ in world.sent] == pytest.approx([0.0, 0.01])


def test_the_deadline_holds_for_both() -> None:
    task, _, _ = raced((FIRST, 30.0), (SECOND, 30.0), timeout=2.0)
    assert isinstance(task.error, DeadlineExceededError)
    assert task.ended_at == pytest.approx(2.0)


def test_no_second_attempt_begins_when_the_deadline_comes_first() -> None:
    _, world, _ = raced((FIRST, 30.0), after=2.0, timeout=1.0)
    assert len(world.sent) == 1


@pytest.mark.parametrize("trouble", ["not fine", "throttled", "no budget"])
def test_there_is_no_second_attempt_where_it_would_do_harm(trouble: str) -> None:
    world = Simulation(lambda send: (FIRST, 1.0))
    core = Caller(["host0:1", "host1:1"], 5.0, 0, world.tools(), world.ambient(), 0.1)
    if trouble == "not fine":
        world.at(0.05, lambda: core.replicas.hear(core.replicas.all[1], Health.NOT_SERVING))
    elif trouble == "throttled":
        for _ in range(60):
            core.replicas.all[1].throttle.failed()
    else:
        assert core._hedging is not None
        core._hedging.budget.tokens = 0.0
    world.start(core.call("Act", REQUEST, core.deadline(None)))
    world.run()
    assert len(world.sent) == 1
    assert [replica.in_flight for replica in core.replicas.all] == [0, 0]


def test_calls_without_keys_are_never_hedged() -> None:
    world = Simulation(lambda send: (FIRST, 1.0))
    core = Caller(["host0:1", "host1:1"], 5.0, 0, world.tools(), world.ambient(), 0.1)
    world.start(core.call("Act", REQUEST, core.deadline(None), repeatable=False))
    world.start(core.call("ReportOutcome", pb.ReportOutcomeRequest(), core.deadline(None)))
    world.run()
    assert len(world.sent) == 2


def test_a_caller_that_gives_up_cancels_both() -> None:
    world = Simulation(lambda send: (FIRST, 3.0))
    core = Caller(["host0:1", "host1:1"], 5.0, 0, world.tools(), world.ambient(), 0.1)
    task = world.start(core.call("Act", REQUEST, core.deadline(None)))
    world.cancel(task, at=0.5)
    world.run()
    assert [attempt.cancelled for attempt in world.attempts] == [True, True]
    assert [replica.in_flight for replica in core.replicas.all] == [0, 0]


def test_a_frozen_replica_is_left_before_the_hedges_are_spent() -> None:
    world = Simulation(lambda send: (FIRST, 1e9 if send.replica == 0 else 0.01))
    core = Caller(["host0:1", "host1:1"], 20.0, 0, world.tools(), world.ambient(), 0.1)

    def call() -> Any:
        return (yield from core.call("Act", REQUEST, core.deadline(None)))

    tasks = [world.start(call(), at=number / 20) for number in range(400)]
    world.run()
    assert all(task.result is FIRST for task in tasks)
    assert sum(send.replica == 0 for _, send in world.sent) < 40


def test_at_most_a_small_share_of_calls_is_made_twice() -> None:
    world = Simulation(lambda send: (FIRST, 1.0))
    core = Caller(["host0:1", "host1:1"], None, 0, world.tools(), world.ambient(), 0.1)
    for number in range(1000):
        world.start(core.call("Act", REQUEST, core.deadline(None)), at=number * 2.0)
    world.run()
    assert 1050 <= len(world.sent) <= 1056


def test_auto_waits_for_the_tail_of_what_it_has_seen() -> None:
    slow = {150, 160}
    latencies = iter([1.0 if number in slow else 0.01 for number in range(400)])
    world = Simulation(lambda send: (FIRST, next(latencies)))
    core = Caller(["host0:1", "host1:1"], None, 0, world.tools(), world.ambient(), "auto")
    for number in range(200):
        world.start(core.call("Act", REQUEST, core.deadline(None)), at=number * 2.0)
    world.run()
    hedged = [time % 2.0 for time, _ in world.sent if time % 2.0 > 1e-6]
    assert len(world.sent) == 200 + len(hedged)
    assert 2 <= len(hedged) <= 15
    assert all(0.005 < delay < 0.05 for delay in hedged)


@given(
    st.lists(
        st.tuples(st.sampled_from([FIRST, AWAY, INVALID]), st.floats(0, 4), st.floats(0, 1)),
        min_size=1,
        max_size=12,
    )
)
def test_every_call_ends_and_leaves_nothing_in_flight(
    calls: list[tuple[Any, float, float]],
) -> None:
    scripted = iter(calls * 8)

    def server(send: Any) -> tuple[Any, float]:
        reply, after, _ = next(scripted)
        return reply, after

    world = Simulation(server)
    core = Caller(["h0:1", "h1:1", "h2:1"], 3.0, 2, world.tools(), world.ambient(), 0.1)
    tasks = [world.start(core.call("Act", REQUEST, core.deadline(None)), at=at) for _, _, at in calls]
    world.run()
    assert all(task.ended_at is not None and task.ended_at <= 3.0 + 1e-6 for task in tasks)
    assert all((task.result is None) != (task.error is None) for task in tasks)
    assert [replica.in_flight for replica in core.replicas.all] == [0, 0, 0]


@pytest.fixture
def slow_and_quick() -> Iterator[tuple[Toy, Toy, list[str]]]:
    slow, quick = Toy(), Toy()
    slow.gate.clear()
    with toy_server(slow) as first, toy_server(quick) as second:
        yield slow, quick, [first, second]


def test_real_servers_are_hedged_too(kit: Kit, slow_and_quick: tuple[Toy, Toy, list[str]]) -> None:
    slow, quick, targets = slow_and_quick
    client = kit.connect(targets, ambient=None, hedge_after=0.01, retries=0)
    for _ in range(3):
        decision = kit.wait(client.act("gate", OBSERVATION))
        assert decision.action == 11
    asked, twice = slow.of(pb.ActRequest), quick.of(pb.ActRequest)
    assert asked
    assert {request.idempotency_keys[0] for request in asked} <= {r.idempotency_keys[0] for r in twice}
    assert [replica.in_flight for replica in client.replicas] == [0, 0]


@pytest.mark.parametrize("after", [0, -1.0, float("nan")])
def test_a_time_that_is_none_is_refused(kit: Kit, after: float) -> None:
    with pytest.raises(InvalidRequestError, match="hedge_after"):
        kit.connect(["a:1", "b:1"], hedge_after=after)
