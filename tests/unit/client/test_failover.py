"""Several replicas: calls leave what is gone, at once, and no call is lost while one is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from hypothesis import given
from hypothesis import strategies as st

from steersman.client import ClientError, OverloadedError, ServerUnavailableError
from steersman.client.core import Caller
from steersman.client.effects import Next, Open, Park, Send, Spawn
from steersman.client.failures import Failure
from steersman.client.health import watch
from steersman.client.replicas import Health, Replicas
from steersman.v1 import policy_pb2 as pb
from support.simulated import SimulatedSignal, Simulation
from support.toy_server import Toy, toy_server
from unit.client.conftest import Kit

REQUEST = pb.ActRequest(policy="gate")
ANSWER = pb.ActResponse(correlation_id=3)
AWAY = Failure(StatusCode.UNAVAILABLE, "connection refused")
OBSERVATION = [0.0, 1.0, 0.0, 0.0]


def called(
    server: Callable[[Send], tuple[Any, float]], *, replicas: int = 2, retries: int = 3, timeout: float = 5.0
) -> tuple[Any, Simulation]:
    """One call in a simulated world: its task, and the world."""
    world = Simulation(server)
    addresses = [f"host{i}:1" for i in range(replicas)]
    core = Caller(addresses, timeout, retries, world.tools(), world.ambient())
    task = world.start(core.call("Act", REQUEST, core.deadline(None)))
    world.run()
    return task, world


def test_the_other_replica_is_tried_at_once() -> None:
    task, world = called(lambda send: (AWAY if send.replica == 0 else ANSWER, 0.01))
    assert task.result is ANSWER
    assert [(time, send.replica) for time, send in world.sent] == [(0.0, 0), (0.01, 1)]


def test_a_pause_comes_when_all_were_tried() -> None:
    task, world = called(lambda send: (AWAY, 0.0), replicas=2, retries=5)
    assert isinstance(task.error, ServerUnavailableError)
    assert [send.replica for _, send in world.sent] == [0, 1, 0, 1, 0, 1]
    assert [time for time, _ in world.sent] == pytest.approx([0.0, 0.0, 0.025, 0.025, 0.075, 0.075])
    assert "host0:1, host1:1" in str(task.error)


@pytest.mark.parametrize("code", [StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE])
def test_a_server_is_left_alone_as_long_as_it_asks(code: StatusCode) -> None:
    replies = iter([Failure(code, "busy", pushback=0.5), ANSWER])
    task, world = called(lambda send: (next(replies), 0.0), replicas=1)
    assert task.result is ANSWER
    assert [time for time, _ in world.sent] == [0.0, 0.5]


@pytest.mark.parametrize(("pushback", "timeout"), [(-1.0, 5.0), (6.0, 5.0), (None, 5.0)])
def test_overload_is_not_retried_against_the_servers_will_or_too_late(
    pushback: float | None, timeout: float
) -> None:
    busy = Failure(StatusCode.RESOURCE_EXHAUSTED, "busy", pushback=pushback)
    task, world = called(lambda send: (busy, 0.0), timeout=timeout)
    assert isinstance(task.error, OverloadedError)
    assert task.error.retryable
    assert len(world.sent) == 1


def test_a_server_can_forbid_retries_of_what_is_unavailable() -> None:
    task, world = called(lambda send: (Failure(StatusCode.UNAVAILABLE, "stay away", pushback=-1.0), 0.0))
    assert isinstance(task.error, ServerUnavailableError)
    assert len(world.sent) == 1


def test_when_all_fail_retries_do_not_storm() -> None:
    world = Simulation(lambda send: (AWAY, 0.0))
    core = Caller(["host0:1"], None, 3, world.tools(), world.ambient())
    for number in range(500):
        world.start(core.call("Act", REQUEST, core.deadline(None)), at=float(number))
    world.run()
    assert 500 <= len(world.sent) <= 550


@given(st.lists(st.booleans(), min_size=1, max_size=3), st.integers(0, 4), st.integers(1, 20))
def test_a_call_is_answered_if_any_replica_is_there(there: list[bool], retries: int, calls: int) -> None:
    world = Simulation(lambda send: (ANSWER if there[send.replica] else AWAY, 0.01))
    core = Caller([f"h{i}:1" for i in range(len(there))], 60.0, retries, world.tools(), world.ambient())
    tasks = [world.start(core.call("Act", REQUEST, core.deadline(None)), at=i / 50) for i in range(calls)]
    world.run()
    if any(there) and retries >= len(there) - 1:
        assert all(task.result is ANSWER for task in tasks)
    if not any(there):
        assert all(isinstance(task.error, ServerUnavailableError) for task in tasks)
    assert [replica.in_flight for replica in core.replicas.all] == [0] * len(there)


def watched(replies: list[Any]) -> tuple[list[Any], list[Health]]:
    """The effects of watching one replica, and what was known of it after each."""
    closed = SimulatedSignal()
    replicas = Replicas(["host0:1"], lambda: 0.0)
    steps = watch(replicas, replicas.all[0], closed, float)
    effects: list[Any] = []
    known: list[Health] = []
    reply = None
    while True:
        try:
            effect = steps.send(reply)
        except StopIteration:
            return effects, known
        effects.append(effect)
        known.append(replicas.all[0].health)
        if isinstance(effect, Park):
            reply = False
        elif replies:
            reply = replies.pop(0)
        else:
            closed.set()
            reply = None


def test_what_a_replica_says_of_itself_is_known_at_once() -> None:
    effects, known = watched(["stream", Int32Value(value=1), Int32Value(value=2), Int32Value(value=3)])
    assert effects[0].rpc == "Watch"
    assert known[:5] == [Health.UNKNOWN, Health.UNKNOWN, Health.SERVING, Health.NOT_SERVING, Health.UNKNOWN]


def test_a_broken_watch_is_known_and_opened_again_once_there_is_a_connection() -> None:
    effects, known = watched(["stream", Int32Value(value=1), AWAY, AWAY, "stream", Int32Value(value=1)])
    opened = [effect.wait_for_ready for effect in effects if isinstance(effect, Open)]
    assert opened == [False, True, True]
    assert [effect.seconds for effect in effects if isinstance(effect, Park)][:2] == [0.0, 1.0]
    assert known[3:9] == [Health.BROKEN] * 5 + [Health.SERVING]


@pytest.mark.parametrize(
    "code", [StatusCode.UNIMPLEMENTED, StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED]
)
def test_a_server_without_a_health_service_for_us_is_not_watched_on(code: StatusCode) -> None:
    effects, _ = watched([Failure(code), "never asked for"])
    assert len(effects) == 1


def test_a_watch_ends_with_the_client() -> None:
    effects, known = watched(["stream", Int32Value(value=1)])
    assert [type(effect) for effect in effects] == [Open, Next, Next, Park]
    assert known[-1] == Health.BROKEN


def test_health_messages_are_those_of_the_health_service() -> None:

    assert (
        StringValue(value="x").SerializeToString()
        == health_pb2.HealthCheckRequest(service="x").SerializeToString()
    )
    for number in health_pb2.HealthCheckResponse.ServingStatus.values():
        wire = health_pb2.HealthCheckResponse(status=number).SerializeToString()  # type: ignore[arg-type]
        assert Int32Value.FromString(wire).value == number


def test_one_replica_is_not_watched() -> None:
    world = Simulation(lambda send: (ANSWER, 0.0))
    core = Caller(["host0:1"], 5.0, 3, world.tools(), world.ambient())
    steps = core.call("Act", REQUEST, core.deadline(None))
    assert isinstance(next(steps), Send)
    core = Caller(["host0:1", "host1:1"], 5.0, 3, world.tools(), world.ambient())
    steps = core.call("Act", REQUEST, core.deadline(None))
    assert isinstance(next(steps), Spawn)


class Pair:
    """Two toy servers with health services, of which each can be stopped."""

    def __init__(self, stacks: list[ExitStack]) -> None:
        from grpc_health.v1.health import HealthServicer

        self.stacks = stacks
        self.toys = [Toy(), Toy()]
        self.healths = [HealthServicer() for _ in stacks]
        self.targets = [
            stack.enter_context(toy_server(toy, health=health))
            for stack, toy, health in zip(stacks, self.toys, self.healths, strict=True)
        ]

    def say(self, index: int, *, serving: bool) -> None:
        """What its health service says from now on."""
        status = health_pb2.HealthCheckResponse.ServingStatus
        self.healths[index].set("", status.SERVING if serving else status.NOT_SERVING)

    def asked(self, index: int) -> int:
        """How many decisions it was asked for."""
        return len(self.toys[index].of(pb.ActRequest))


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as first, ExitStack() as second:
        yield Pair([first, second])


def until(kit: Kit, client: Any, index: int, health: Health) -> None:
    """Calls until the client knows this of a replica."""
    for _ in range(5000):
        if client.replicas[index].health == health:
            return
        kit.wait(client.act("gate", OBSERVATION))
    raise AssertionError(client.replicas)


def test_calls_are_shared_among_replicas(kit: Kit, pair: Pair) -> None:
    client = kit.connect(pair.targets, ambient=None)
    for _ in range(20):
        kit.wait(client.act("gate", OBSERVATION))
    assert (pair.asked(0), pair.asked(1)) == (10, 10)
    assert client.target == ", ".join(pair.targets)


def test_a_replica_that_says_not_serving_gets_no_new_calls(kit: Kit, pair: Pair) -> None:
    client = kit.connect(pair.targets, ambient=None)
    until(kit, client, 0, Health.SERVING)
    pair.say(0, serving=False)
    until(kit, client, 0, Health.NOT_SERVING)
    assert not client.replicas[0].fine
    before = pair.asked(0)
    for _ in range(10):
        kit.wait(client.act("gate", OBSERVATION))
    assert pair.asked(0) == before
    pair.say(1, serving=False)
    until(kit, client, 1, Health.NOT_SERVING)
    for _ in range(10):
        kit.wait(client.act("gate", OBSERVATION))  # nobody is known to be good, and nobody is refused
    pair.say(0, serving=True)
    until(kit, client, 0, Health.SERVING)


def test_a_replica_that_vanishes_costs_no_call(kit: Kit, pair: Pair) -> None:
    client = kit.connect(pair.targets, ambient=None)
    for number in range(60):
        if number == 20:
            pair.stacks[0].close()
        assert kit.wait(client.act("gate", OBSERVATION)).action == 11
    until(kit, client, 0, Health.BROKEN)
    assert pair.asked(0) + pair.asked(1) >= 60


def test_readiness_is_that_of_any_replica(kit: Kit, pair: Pair) -> None:
    pair.stacks[0].close()
    client = kit.connect(pair.targets, ambient=None)
    kit.wait(client.wait_until_ready(10.0, policy="gate"))


def test_a_name_with_several_addresses_uses_all_of_them(kit: Kit, pair: Pair) -> None:
    client = kit.connect("ipv4:" + ",".join(pair.targets), ambient=None)
    for _ in range(200):
        kit.wait(client.act("gate", OBSERVATION))
        if pair.asked(0) and pair.asked(1):
            return
    raise AssertionError("only one address was used")


@pytest.mark.parametrize("targets", [[], ["a:1", "a:1"]])
def test_addresses_that_are_none_are_refused(kit: Kit, targets: list[str]) -> None:
    with pytest.raises(ClientError, match="one for each replica"):
        kit.connect(targets)
