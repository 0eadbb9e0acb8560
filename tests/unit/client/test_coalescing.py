"""Concurrent calls as one: each caller gets its own row or error, and waits no longer than it wants."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from steersman.client import (
    Coalesce,
    DeadlineExceededError,
    InvalidRequestError,
    RowFailedError,
    ServerUnavailableError,
)
from steersman.client.coalescing import Coalescer
from steersman.client.core import Caller
from steersman.client.deciding import Decider
from steersman.client.description import read_description
from steersman.client.effects import Send, Steps
from steersman.client.failures import Failure
from steersman.client.merging import merge, merge_key
from steersman.client.requests import (
    Ask,
    EpisodeState,
    add_episodes,
    add_mask,
    add_observation,
    start_request,
)
from steersman.v1 import policy_pb2 as pb
from support.simulated import Simulation, Task
from support.toy_policies import POLICIES, decide
from unit.client.conftest import Kit

GATE = read_description(POLICIES["gate"])
MEMORY = read_description(POLICIES["memory"])
OBSERVATION = [0.0, 1.0, 0.0, 0.0]


def asked(choice: int, mask: list[int] | None = None, *, mode: Any = "greedy") -> pb.ActRequest:
    """A request that gate answers with 10 + choice, if the mask allows that."""
    request = start_request(GATE, Ask(mode))
    add_observation(request, GATE, np.eye(4)[choice])
    if mask is not None:
        add_mask(request, GATE, mask, 1)
    return request


def toy_answer(send: Send) -> Any:
    """The toy server's answer; a fourth feature of one makes a call invalid."""
    request: Any = send.request
    if np.frombuffer(request.observation.data, "<f4").reshape(-1, 4)[:, 3].any():
        return Failure(StatusCode.INVALID_ARGUMENT, "poison", "observation_poison")
    answer = decide(request, POLICIES["gate"])
    if len(answer.sources) == 1 and answer.errors:
        error = answer.errors[0]
        return Failure(StatusCode.INVALID_ARGUMENT, error.message, error.reason, row=True)
    return answer


class Together:
    """Callers of one coalescing client in a simulated world."""

    def __init__(self, server: Any, settings: Coalesce, *, retries: int = 3) -> None:
        self.world = Simulation(server)
        ambient = self.world.ambient()
        self.caller = Caller(["host0:1"], None, retries, self.world.tools(), ambient)
        self.coalescer = Coalescer(settings, ambient.clock)
        self.decider = Decider(self.caller, self.coalescer)

    def call(self, request: pb.ActRequest, at: float = 0.0, timeout: float | None = None) -> Task:
        def steps() -> Steps[Any]:
            return (yield from self.decider.one(request, GATE, self.caller.deadline(timeout)))

        return self.world.start(steps(), at)

    def run(self) -> list[int]:
        """Until the end; gives the rows of each call that was sent."""
        self.world.run()
        assert self.coalescer.lines == {}
        return [send.request.observation.shape[0] for _, send in self.world.sent]  # type: ignore[attr-defined]


def test_a_lone_call_goes_at_once() -> None:
    together = Together(lambda send: (toy_answer(send), 1.0), Coalesce())
    tasks = [together.call(asked(2), at=5.0 * i) for i in range(3)]
    assert together.run() == [1, 1, 1]
    assert [time for time, _ in together.world.sent] == [0.0, 5.0, 10.0]
    assert [task.result.action for task in tasks] == [12] * 3


def test_those_that_come_meanwhile_go_together_when_it_returns() -> None:
    together = Together(lambda send: (toy_answer(send), 1.0), Coalesce(max_delay=9.0))
    tasks = [together.call(asked(i % 3), at=0.1 * i) for i in range(6)]
    assert together.run() == [1, 5]
    assert [time for time, _ in together.world.sent] == pytest.approx([0.0, 1.0])
    assert [task.result.action for task in tasks] == [10, 11, 12, 10, 11, 12]
    assert len({task.result.decision_id for task in tasks}) == 6


def test_nobody_waits_longer_than_the_delay() -> None:
    together = Together(lambda send: (toy_answer(send), 10.0), Coalesce(max_delay=0.5))
    for i in range(4):
        together.call(asked(0), at=0.2 * i)
    assert together.run() == [1, 3]
    assert [time for time, _ in together.world.sent] == pytest.approx([0.0, 0.7])


def test_a_full_batch_goes_at_once() -> None:
    together = Together(lambda send: (toy_answer(send), 10.0), Coalesce(max_rows=2, max_delay=5.0))
    for i in range(5):
        together.call(asked(0), at=0.1 * i)
    assert together.run() == [1, 2, 2]
    assert [time for time, _ in together.world.sent] == pytest.approx([0.0, 0.2, 0.4])


def test_only_the_same_question_is_asked_together() -> None:
    together = Together(lambda send: (toy_answer(send), 1.0), Coalesce(max_delay=9.0))
    for at in (0.0, 0.1, 0.2):
        for mode in ("greedy", "sampled"):
            together.call(asked(0, mode=mode), at=at)
            together.call(asked(0, [1, 1, 1], mode=mode), at=at)
    assert together.run() == [1] * 4 + [2] * 4


def test_each_row_has_its_own_mask_and_its_own_error() -> None:
    together = Together(lambda send: (toy_answer(send), 1.0), Coalesce(max_delay=9.0))
    masks = [[1, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    tasks = [together.call(asked(1, mask), at=0.1 * i) for i, mask in enumerate(masks)]
    assert together.run() == [1, 3]
    assert [task.result and task.result.action for task in tasks] == [11, 12, None, 10]
    assert isinstance(tasks[2].error, RowFailedError)
    assert tasks[2].error.reason == "mask_all_false"


def test_one_bad_call_does_not_fail_the_others() -> None:
    together = Together(lambda send: (toy_answer(send), 1.0), Coalesce(max_delay=9.0))
    tasks = [together.call(asked(i), at=0.1 * i) for i in range(4)]  # the last is poison
    assert together.run() == [1, 3, 1, 1, 1]
    assert [task.result and task.result.action for task in tasks] == [10, 11, 12, None]
    assert isinstance(tasks[3].error, InvalidRequestError)
    merged, *alone = [send.request.idempotency_keys for _, send in together.world.sent[1:]]  # type: ignore[attr-defined]
    assert sorted(merged) == sorted(key for keys in alone for key in keys)


def test_a_failure_of_the_server_is_everybodys() -> None:
    down = Failure(StatusCode.INTERNAL, "down")
    together = Together(lambda send: (down, 1.0), Coalesce(max_delay=9.0))
    tasks = [together.call(asked(i), at=0.1 * i) for i in range(3)]
    together.run()
    errors: list[Any] = [task.error for task in tasks]
    assert [error.code for error in errors] == [StatusCode.INTERNAL] * 3
    assert len({id(error) for error in errors}) == 3  # each raises its own


def test_each_waits_for_its_own_deadline_and_the_call_for_the_last() -> None:
    together = Together(lambda send: (toy_answer(send), 4.0), Coalesce(max_delay=9.0))
    tasks = [together.call(asked(0), at=0.1 * i, timeout=timeout) for i, timeout in enumerate([9, 2, 6, 20])]
    together.run()
    assert isinstance(tasks[1].error, DeadlineExceededError)
    assert tasks[1].ended_at == pytest.approx(2.1)
    assert isinstance(tasks[2].error, DeadlineExceededError)
    assert "within 6 s" in str(tasks[2].error)
    assert tasks[2].ended_at == pytest.approx(6.2)
    assert tasks[3].result.action == 10
    (_, first), (_, second) = together.world.sent
    assert (first.timeout, second.timeout) == (9, pytest.approx(16.3))


def test_if_the_leader_gives_up_another_takes_over_with_the_same_keys() -> None:
    together = Together(lambda send: (toy_answer(send), 2.0), Coalesce(max_delay=9.0))
    tasks = [together.call(asked(i % 3), at=0.1 * i, timeout=20.0 + i) for i in range(4)]
    together.world.cancel(tasks[3], at=3.0)  # it leads the second call, which began at 2.0
    assert together.run() == [1, 3, 2]
    assert [task.result and task.result.action for task in tasks] == [10, 11, 12, None]
    second, third = (send.request.idempotency_keys for _, send in together.world.sent[1:])  # type: ignore[attr-defined]
    assert list(second)[:2] == list(third)


CALLERS = st.lists(
    st.tuples(
        st.integers(0, 3),  # what is asked; 3 is poison
        st.sampled_from([None, (1, 1, 1), (0, 1, 1), (0, 0, 0)]),
        st.floats(0, 3),  # when
        st.sampled_from([None, 0.5, 2.0, 8.0]),  # its deadline
        st.sampled_from([None, None, None, 0.1, 1.0]),  # when it gives up
    ),
    min_size=1,
    max_size=14,
)


@given(
    CALLERS,
    st.lists(st.floats(0, 2), min_size=1, max_size=5),
    st.integers(1, 5),
    st.floats(0, 1),
    st.integers(0, 3),
)
def test_in_any_order_each_caller_gets_its_own_answer(
    callers: Any, latencies: list[float], max_rows: int, max_delay: float, outages: int
) -> None:
    calls = 0

    def server(send: Send) -> tuple[Any, float]:
        nonlocal calls
        calls += 1
        away = calls % 3 == 0 and calls // 3 <= outages
        reply = Failure(StatusCode.UNAVAILABLE, "away") if away else toy_answer(send)
        return reply, latencies[calls % len(latencies)]

    together = Together(server, Coalesce(max_rows, max_delay))
    tasks = []
    for choice, mask, at, timeout, gives_up in callers:
        tasks.append(together.call(asked(choice, mask and list(mask)), at, timeout))
        if gives_up is not None:
            together.world.cancel(tasks[-1], at + gives_up)
    assert all(1 <= rows <= max_rows for rows in together.run())
    for task, (choice, mask, at, timeout, _) in zip(tasks, callers, strict=True):
        assert task.ended_at is not None
        assert timeout is None or task.ended_at <= at + timeout + 1e-6
        if task.cancelled or isinstance(task.error, DeadlineExceededError):
            continue
        if timeout is not None and isinstance(task.error, ServerUnavailableError):
            continue  # away, and no time was left to try again
        if choice == 3:
            assert isinstance(task.error, InvalidRequestError)
        elif mask == (0, 0, 0):
            assert isinstance(task.error, RowFailedError)
        else:
            allowed = np.where(mask or (1, 1, 1), np.eye(3)[choice], -1.0)
            assert task.result.action == 10 + int(allowed.argmax())
    assert [replica.in_flight for replica in together.caller.replicas.all] == [0]


def test_merged_columns_are_those_of_the_rows() -> None:
    requests = []
    for number, state in enumerate([EpisodeState("a"), EpisodeState("b", step=4, token=b"t")]):
        request = start_request(MEMORY, Ask(version="champion"))
        add_observation(request, MEMORY, [[number, 0], [0, 0]])
        add_episodes(request, [state], 1)
        request.idempotency_keys.append(bytes([number]))
        requests.append(request)
    assert merge_key(requests[0]) == merge_key(requests[1])
    merged = merge(requests)
    assert merged == pb.ActRequest(
        policy="memory",
        version_label="champion",
        mode=pb.ACTION_MODE_GREEDY,
        observation=pb.Tensor(dtype=pb.DTYPE_UINT8, shape=[2, 2, 2], data=bytes([0, 0, 0, 0, 1, 0, 0, 0])),
        episode_ids=["a", "b"],
        steps=[0, 4],
        episode_starts=[True, False],
        episode_tokens=[b"", b"t"],
        idempotency_keys=[b"\0", b"\1"],
    )
    assert requests[0].observation.shape == [1, 2, 2]


def test_rows_of_dict_spaces_are_merged_key_by_key() -> None:
    arm = read_description(POLICIES["arm"])
    requests = [start_request(arm, Ask()) for _ in range(3)]
    for number, request in enumerate(requests):
        add_observation(request, arm, {"pose": [number, 1.0], "gear": number})
    merged = merge(requests)
    assert list(merged.observation_dict["pose"].shape) == [3, 2]
    assert np.frombuffer(merged.observation_dict["gear"].data, "<i8").tolist() == [0, 1, 2]


@pytest.mark.parametrize("settings", [{"max_rows": 0}, {"max_delay": -1.0}, {"max_delay": float("nan")}])
def test_settings_that_are_none_are_refused(settings: Any) -> None:
    with pytest.raises(InvalidRequestError, match="coalesce"):
        Coalesce(**settings)


def concurrently(kit: Kit, client: Any, requests: list[Any]) -> list[Any]:
    """The results or errors of these calls of `act`, made while the server's gate holds the first."""
    kit.wait(client.describe("gate"))
    kit.toy.gate.clear()
    if kit.kind == "asyncio":
        return kit.wait(_as_tasks(kit, client, requests))
    with ThreadPoolExecutor(len(requests)) as pool:
        first = pool.submit(client.act, "gate", requests[0])
        kit.toy.entered.acquire()
        rest = [pool.submit(client.act, "gate", request) for request in requests[1:]]
        line = _until_all_wait(client, len(rest))
        assert line
        kit.toy.gate.set()
        return [future.exception() or future.result() for future in [first, *rest]]


def _until_all_wait(client: Any, count: int) -> bool:
    ticks = threading.Event()
    for _ in range(10_000):
        lines = list(client._calls.coalescer.lines.values())
        if lines and len(lines[0].waiting) == count:
            return True
        ticks.wait(0.001)
    return False


async def _as_tasks(kit: Kit, client: Any, requests: list[Any]) -> list[Any]:
    first = asyncio.create_task(client.act("gate", requests[0]))
    await asyncio.to_thread(kit.toy.entered.acquire)
    rest = [asyncio.create_task(client.act("gate", request)) for request in requests[1:]]
    await asyncio.sleep(0)  # each joins the line in its first step
    kit.toy.gate.set()
    return await asyncio.gather(first, *rest, return_exceptions=True)


def test_threads_and_tasks_share_a_real_call(kit: Kit) -> None:
    client = kit.connect(ambient=None, coalesce=Coalesce(max_delay=30.0), timeout=30.0)
    rows = [np.eye(4)[i % 3] for i in range(9)]
    results = concurrently(kit, client, rows)
    assert [result.action for result in results] == [10 + i % 3 for i in range(9)]
    assert [r.observation.shape[0] for r in kit.toy.of(pb.ActRequest)] == [1, 8]


def test_with_a_real_server_a_bad_call_fails_alone(kit: Kit) -> None:
    client = kit.connect(ambient=None, coalesce=Coalesce(max_delay=30.0), timeout=30.0)
    kit.toy.poison = 9.0
    rows = [np.eye(4)[i % 3] for i in range(4)] + [[9.0, 0.0, 0.0, 0.0]]
    results = concurrently(kit, client, rows)
    assert [result.action for result in results[:4]] == [10, 11, 12, 10]
    assert isinstance(results[4], InvalidRequestError)
    assert results[4].reason == "observation_poison"


def test_true_stands_for_the_defaults(kit: Kit) -> None:
    client = kit.connect(coalesce=True)
    assert client._calls.coalescer.settings == Coalesce()
    assert kit.wait(client.act("gate", OBSERVATION)).action == 11
    assert kit.client._calls.coalescer is None
