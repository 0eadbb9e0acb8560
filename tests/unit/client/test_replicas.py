"""Which replica is picked, as a state machine that is told the time."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from steersman.client.failures import Failure
from steersman.client.replicas import Health, Replica, Replicas
from steersman.v1 import policy_pb2 as pb

ANSWER = pb.ActResponse()
AWAY = Failure(StatusCode.UNAVAILABLE)
LATE = Failure(StatusCode.DEADLINE_EXCEEDED)


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def made(count: int = 3) -> tuple[Replicas, Clock]:
    clock = Clock()
    return Replicas([f"host{i}:1" for i in range(count)], clock), clock


def asked(replicas: Replicas, reply: Any = ANSWER, tried: tuple[Replica, ...] = ()) -> Replica:
    replica = replicas.pick(tried)
    replicas.release(replica, reply)
    return replica


def test_equals_take_turns() -> None:
    replicas, _ = made()
    assert [asked(replicas).index for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("side", ["SERVER: Received", "CLIENT: Sent", "CLIENT: Received"])
def test_messages_that_are_too_large_say_nothing_against_a_replica(side: str) -> None:
    replicas, _ = made(1)
    refused = Failure(StatusCode.RESOURCE_EXHAUSTED, f"{side} message larger than max (9 vs. 8)")
    for _ in range(1000):
        asked(replicas, refused)
    assert replicas.may_retry(())
    for _ in range(50):
        asked(replicas, Failure(StatusCode.RESOURCE_EXHAUSTED, "more than it takes"))
    assert not replicas.may_retry(())


def test_the_one_with_fewest_calls_comes_first() -> None:
    replicas, _ = made()
    first, second, third = (replicas.pick() for _ in range(3))
    replicas.release(second, ANSWER)
    assert replicas.pick() is second
    assert [replica.in_flight for replica in (first, second, third)] == [1, 1, 1]


@pytest.mark.parametrize("health", [Health.NOT_SERVING, Health.BROKEN])
def test_one_that_does_not_want_calls_gets_none_while_others_do(health: Health) -> None:
    replicas, _ = made(2)
    replicas.hear(replicas.all[0], health)
    assert {asked(replicas).index for _ in range(5)} == {1}
    replicas.hear(replicas.all[0], Health.SERVING)
    assert {asked(replicas).index for _ in range(5)} == {0, 1}


def test_if_none_is_fine_the_likeliest_is_asked() -> None:
    replicas, clock = made()
    for replica, health in zip(
        replicas.all, (Health.BROKEN, Health.NOT_SERVING, Health.SERVING), strict=True
    ):
        replicas.hear(replica, health)
    replicas.release(replicas.pick(), AWAY)
    assert asked(replicas).index == 1  # it drains, and still answers
    replicas.hear(replicas.all[1], Health.BROKEN)
    assert asked(replicas, AWAY).index == 2
    replicas.hear(replicas.all[2], Health.BROKEN)
    assert {asked(replicas).index for _ in range(6)} == {0, 1, 2}
    assert clock.now == 0


def test_one_that_was_away_rests_longer_each_time_and_one_answer_ends_that() -> None:
    replicas, clock = made(1)
    rests = []
    for _ in range(8):
        asked(replicas, AWAY)
        rests.append(replicas.all[0].rests_until - clock.now)
    assert rests == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])
    assert not replicas.is_fine(replicas.all[0])
    asked(replicas)
    assert replicas.is_fine(replicas.all[0])


def test_its_health_service_ends_a_rest_too() -> None:
    replicas, _ = made(2)
    away = asked(replicas, AWAY)
    assert asked(replicas) is not away
    replicas.hear(away, Health.SERVING)
    assert replicas.is_fine(away)


def test_a_rest_ends_with_time() -> None:
    replicas, clock = made(2)
    away = asked(replicas, AWAY)
    clock.now = 0.05
    assert {asked(replicas) is away for _ in range(3)} == {False}
    clock.now = 0.11
    assert away in {asked(replicas) for _ in range(2)}


@pytest.mark.parametrize(
    "code", [StatusCode.INVALID_ARGUMENT, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED]
)
def test_what_does_not_speak_against_a_replica_leaves_it_fine(code: StatusCode) -> None:
    replicas, _ = made(1)
    asked(replicas, Failure(code))
    assert replicas.is_fine(replicas.all[0])


def test_one_that_leaves_calls_unanswered_is_spared_from_the_second_on() -> None:
    replicas, _ = made(2)
    silent = replicas.all[0]
    replicas.release(replicas.pick(wanted=silent), LATE)
    assert replicas.is_fine(silent)
    replicas.release(replicas.pick(wanted=silent), LATE)
    assert not replicas.is_fine(silent)
    replicas.release(replicas.pick(replicas.all[1:]), ANSWER)
    assert replicas.is_fine(silent)
    replicas.release(replicas.pick(wanted=silent), LATE)
    assert replicas.is_fine(silent)


def test_those_that_failed_this_call_come_last() -> None:
    replicas, _ = made()
    replicas.hear(replicas.all[2], Health.NOT_SERVING)
    assert asked(replicas, tried=replicas.all[:2]).index == 2
    assert asked(replicas, tried=replicas.all) in replicas.all


def test_a_wanted_one_is_taken_if_it_is_fine() -> None:
    replicas, _ = made()
    wanted = replicas.all[2]
    assert [replicas.pick(wanted=wanted) for _ in range(3)] == [wanted] * 3
    assert replicas.pick([wanted], wanted=wanted) is not wanted
    replicas.hear(wanted, Health.NOT_SERVING)
    assert replicas.pick(wanted=wanted) is not wanted


def test_a_second_attempt_goes_to_another_fine_replica_or_nowhere() -> None:
    replicas, _ = made(2)
    first, second = replicas.all
    assert replicas.pick_other(first) is second
    replicas.hear(second, Health.NOT_SERVING)
    assert replicas.pick_other(first) is None
    replicas.hear(second, Health.SERVING)
    while second.throttle.open:
        second.throttle.failed()
    assert replicas.pick_other(first) is None


def test_retries_stop_at_a_replica_that_only_fails_and_not_at_others() -> None:
    replicas, _ = made(2)
    first, second = replicas.all
    for _ in range(50):
        first.throttle.failed()
    assert not first.throttle.open
    assert replicas.may_retry([first])
    assert not replicas.may_retry([second])
    for _ in range(11):
        first.throttle.succeeded()
    assert replicas.may_retry([second])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pick", "answer", "away", "late", "given up", "health", "wait"]),
            st.integers(0, 9),
        ),
        max_size=60,
    )
)
def test_somebody_is_always_picked_and_counts_never_drift(events: list[tuple[str, int]]) -> None:
    replicas, clock = made()
    flying: list[Replica] = []
    replies = {"answer": ANSWER, "away": AWAY, "late": LATE, "given up": None}
    for event, number in events:
        if event == "pick":
            now_fine = [replica for replica in replicas.all if replicas.is_fine(replica)]
            picked = replicas.pick()
            assert picked in (now_fine or replicas.all)
            flying.append(picked)
        elif event == "wait":
            clock.now += number / 4
        elif event == "health":
            replicas.hear(replicas.all[number % 3], list(Health)[number % 4])
        elif flying:
            replicas.release(flying.pop(number % len(flying)), replies[event])
        assert [replica.in_flight for replica in replicas.all] == [flying.count(r) for r in replicas.all]
