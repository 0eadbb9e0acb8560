"""What becomes of calls whose model is slow: batches, deadlines, overload. The engine is a stand-in."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from steersman.serving.deciding.call import Call, RawTensor
from steersman.serving.deciding.engine import Decided, Engine
from steersman.serving.decision import Reason
from steersman.serving.dispatching.dispatcher import Dispatcher, Outcome
from steersman.serving.errors import CallError, Code
from steersman.serving.limits import Limits
from steersman.serving.rollout.deployment import BatchingSettings

SECOND = 1_000_000_000
TIMEOUT_S = 20.0
Claim = Callable[[Sequence[Call]], Sequence[bool]]


def policy(
    run: str = "thread", overload: str = "fallback", timings: Mapping[int, float] | None = None
) -> Any:
    """As much of a `PolicyRuntime` as is looked at."""
    spec = SimpleNamespace(key="", size=4)
    lane = SimpleNamespace(
        role="open",
        loaded=SimpleNamespace(timings=timings or {1: 0.001, 8: 0.002}),
        contract=SimpleNamespace(observations=(spec,)),
    )
    batching = BatchingSettings.model_validate({"run": run, "max_delay_ms": 0.0, "preferred_rows": (4,)})
    return SimpleNamespace(lanes=(lane,), route=SimpleNamespace(batching=batching, overload=overload))


class SlowEngine:
    """Decides by naming: the outcome of a call is what it was asked with. `slow` calls wait for `go`."""

    def __init__(self) -> None:
        self.routing = SimpleNamespace(policies={"slow": policy(), "quick": policy("inline")})
        self.go = threading.Semaphore(0)
        self.begun: queue.Queue[list[Call]] = queue.Queue()
        self.recorded: list[Call] = []

    def begin(self, calls: Sequence[Call]) -> Decided:
        return Decided(self.decide(calls), ())

    def decide(self, calls: Sequence[Call], claim: Claim | None = None) -> list[Any]:
        if claim is not None:
            self.begun.put(list(calls))
            assert self.go.acquire(timeout=TIMEOUT_S)
        ours = claim(calls) if claim else [True] * len(calls)
        self.recorded += [call for call, mine in zip(calls, ours, strict=True) if mine]
        return [(call.tag, call.refused) for call in calls]


@dataclass
class Caller:
    """A sink that remembers."""

    calls: int
    unwanted: frozenset[int] = frozenset()
    outcomes: dict[int, Any] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)
    threads: set[int] = field(default_factory=set)

    def reply(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        for place, outcome in zip(places, outcomes, strict=True):
            assert place not in self.outcomes, "answered twice"
            self.outcomes[place] = outcome
        self.threads.add(threading.get_ident())
        if len(self.outcomes) == self.calls:
            self.done.set()

    def wanted(self, place: int) -> bool:
        return place not in self.unwanted

    def wait(self) -> list[Any]:
        assert self.done.wait(TIMEOUT_S)
        return [self.outcomes[place] for place in range(self.calls)]


@pytest.fixture
def engine() -> Iterator[SlowEngine]:
    made = SlowEngine()
    yield made
    made.go.release(1000)


def dispatcher(engine: SlowEngine, max_waiting_rows: int = 1000) -> Dispatcher:
    return Dispatcher(cast("Engine", engine), Limits(max_waiting_rows=max_waiting_rows))


def call(tag: int, policy: str = "slow", rows: int = 1, deadline_s: float = 0.0) -> Call:
    observation = RawTensor(np.zeros(4 * rows, np.float32), (rows, 4), typed=True)
    deadline = perf_counter_ns() + int(deadline_s * SECOND) if deadline_s else 0
    return Call(policy, {"": observation}, tag=tag, deadline_ns=deadline)


def submit(to: Dispatcher, *calls: Call, unwanted: frozenset[int] = frozenset()) -> Caller:
    caller = Caller(len(calls), unwanted)
    to.submit(calls, caller)
    return caller


def begun(engine: SlowEngine) -> list[int]:
    """Tags of the calls of the next batch, once the model has it."""
    return [call.tag for call in engine.begun.get(timeout=TIMEOUT_S)]


def test_what_is_quick_is_decided_at_once_by_the_thread_that_brings_it(engine: SlowEngine) -> None:
    caller = submit(dispatcher(engine), call(1, "quick"), call(2, "quick"))
    assert [caller.outcomes[place] for place in (0, 1)] == [(1, Reason.NONE), (2, Reason.NONE)]
    assert caller.threads == {threading.get_ident()}


def test_an_unknown_policy_is_left_to_the_engine(engine: SlowEngine) -> None:
    assert submit(dispatcher(engine), call(1, "nobody")).wait() == [(1, Reason.NONE)]


def test_a_slow_model_does_not_hold_up_what_is_quick(engine: SlowEngine) -> None:
    caller = submit(dispatcher(engine), call(1), call(2, "quick"))
    assert caller.outcomes == {1: (2, Reason.NONE)}
    engine.go.release()
    assert caller.wait() == [(1, Reason.NONE), (2, Reason.NONE)]
    assert threading.get_ident() in caller.threads
    assert len(caller.threads) == 2


def test_calls_that_wait_while_the_model_runs_are_one_batch_in_their_order(engine: SlowEngine) -> None:
    to = dispatcher(engine)
    first = submit(to, call(0))
    assert begun(engine) == [0]
    others = [submit(to, call(tag)) for tag in range(1, 6)]
    engine.go.release(3)
    assert begun(engine) == [1, 2, 3, 4]
    assert begun(engine) == [5]
    assert [caller.wait() for caller in (first, *others)] == [[(tag, Reason.NONE)] for tag in range(6)]


def test_a_call_whose_deadline_has_passed_is_not_decided(engine: SlowEngine) -> None:
    late = Call("quick", {}, deadline_ns=perf_counter_ns() - 1, tag=1)
    (outcome,) = submit(dispatcher(engine), late).wait()
    assert isinstance(outcome, CallError)
    assert outcome.code is Code.DEADLINE_EXCEEDED
    assert engine.recorded == []


def test_a_call_that_the_model_cannot_answer_in_time_gets_the_fallback_at_once(engine: SlowEngine) -> None:
    engine.routing.policies["slow"] = policy(timings={1: 5.0})
    assert submit(dispatcher(engine), call(1, deadline_s=2.0)).wait() == [(1, Reason.DEADLINE_TOO_NEAR)]


def test_a_call_in_a_stuck_model_gets_the_fallback_in_time_and_is_counted_once(engine: SlowEngine) -> None:
    to = dispatcher(engine)
    caller = submit(to, call(1, deadline_s=0.2), call(2))
    assert begun(engine) == [1, 2]
    while 0 not in caller.outcomes:
        assert not caller.done.wait(0.01)
    assert caller.outcomes == {0: (1, Reason.DEADLINE_TOO_NEAR)}
    engine.go.release()
    assert caller.wait() == [(1, Reason.DEADLINE_TOO_NEAR), (2, Reason.NONE)]
    assert sorted((item.tag, item.refused) for item in engine.recorded) == [
        (1, Reason.DEADLINE_TOO_NEAR),
        (2, Reason.NONE),
    ]


def test_a_call_that_waits_behind_a_stuck_model_gets_the_fallback_and_leaves_the_queue(
    engine: SlowEngine,
) -> None:
    to = dispatcher(engine)
    stuck = submit(to, call(1))
    assert begun(engine) == [1]
    assert submit(to, call(2, deadline_s=0.2)).wait() == [(2, Reason.DEADLINE_TOO_NEAR)]
    last = submit(to, call(3))
    engine.go.release(2)
    assert begun(engine) == [3]
    assert (stuck.wait(), last.wait()) == ([(1, Reason.NONE)], [(3, Reason.NONE)])


def test_rows_for_which_there_is_no_room_get_the_fallback(engine: SlowEngine) -> None:
    to = dispatcher(engine, max_waiting_rows=3)
    submit(to, call(0))
    assert begun(engine) == [0]
    waiting = submit(to, call(1, rows=2))
    assert submit(to, call(2, rows=2)).wait() == [(2, Reason.OVERLOAD)]
    engine.go.release(2)
    assert waiting.wait() == [(1, Reason.NONE)]


def test_or_are_refused_with_a_hint_where_the_deployment_says_so(engine: SlowEngine) -> None:
    engine.routing.policies["slow"] = policy(overload="reject")
    to = dispatcher(engine, max_waiting_rows=3)
    submit(to, call(0))
    assert begun(engine) == [0]
    submit(to, call(1, rows=3))
    (outcome,) = submit(to, call(2)).wait()
    assert isinstance(outcome, CallError)
    assert (outcome.code, outcome.retryable) == (Code.RESOURCE_EXHAUSTED, True)
    assert 0 < outcome.retry_after_s < 1


def test_what_nobody_waits_for_is_not_decided(engine: SlowEngine) -> None:
    to = dispatcher(engine)
    submit(to, call(0))
    assert begun(engine) == [0]
    caller = submit(to, call(1), call(2), unwanted=frozenset({0}))
    engine.go.release(2)
    assert begun(engine) == [2]
    given_up, decided = caller.wait()
    assert (given_up.code, decided) == (Code.CANCELLED, (2, Reason.NONE))


def test_a_defect_of_the_engine_reaches_every_caller_and_the_thread_goes_on(engine: SlowEngine) -> None:
    to = dispatcher(engine)

    def broken(calls: Sequence[Call], claim: Claim | None = None) -> list[Any]:
        raise ZeroDivisionError

    whole, engine.decide = engine.decide, broken  # type: ignore[method-assign]
    assert [outcome.code for outcome in submit(to, call(1), call(2)).wait()] == [Code.INTERNAL] * 2
    assert [outcome.code for outcome in submit(to, call(1, "quick")).wait()] == [Code.INTERNAL]
    engine.decide = whole  # type: ignore[method-assign]
    engine.go.release()
    assert submit(to, call(3)).wait() == [(3, Reason.NONE)]


def test_a_policy_moves_between_inline_and_thread_with_the_routing_table(engine: SlowEngine) -> None:
    to = dispatcher(engine)
    engine.go.release()
    submit(to, call(1)).wait()
    engine.routing = SimpleNamespace(policies={"slow": policy("inline")})
    assert submit(to, call(2)).threads == {threading.get_ident()}


def test_quick_calls_of_too_many_rows_together_get_the_fallback(engine: SlowEngine) -> None:
    to = dispatcher(engine, max_waiting_rows=3)
    calls = [call(tag, "quick") for tag in range(5)]
    reasons = [reason for _, reason in submit(to, *calls).wait()]
    assert reasons == [Reason.NONE] * 3 + [Reason.OVERLOAD] * 2


def test_or_are_refused_likewise_with_a_hint(engine: SlowEngine) -> None:
    engine.routing.policies["quick"] = policy("inline", overload="reject")
    first, second = submit(dispatcher(engine, 3), call(1, "quick", rows=3), call(2, "quick")).wait()
    assert first == (1, Reason.NONE)
    assert (second.code, second.retryable) == (Code.RESOURCE_EXHAUSTED, True)
    assert 0 < second.retry_after_s < 1


def test_a_call_of_many_rows_of_a_quick_model_runs_on_a_thread(engine: SlowEngine) -> None:
    engine.routing.policies["quick"] = policy("auto", timings={1: 1e-4, 32: 1e-3})
    to = dispatcher(engine, 100_000)
    large = submit(to, call(1, "quick", rows=4096))
    assert begun(engine) == [1]
    assert submit(to, call(2, "quick", rows=32)).threads == {threading.get_ident()}
    engine.go.release()
    assert large.wait() == [(1, Reason.NONE)]
    assert threading.get_ident() not in large.threads


def test_what_is_decided_at_once_is_cut_so_that_no_piece_takes_long(engine: SlowEngine) -> None:
    engine.routing.policies["quick"] = policy("auto", timings={1: 1e-4, 32: 1e-3})  # 160 rows take 5 ms
    pieces: list[list[int]] = []
    whole = engine.decide

    def noted(calls: Sequence[Call], claim: Claim | None = None) -> list[Any]:
        pieces.append([item.tag for item in calls])
        return whole(calls, claim)

    engine.decide = noted  # type: ignore[method-assign]
    caller = submit(dispatcher(engine), *(call(tag, "quick", rows=70) for tag in range(5)))
    assert caller.wait() == [(tag, Reason.NONE) for tag in range(5)]
    assert pieces == [[0, 1], [2, 3], [4]]


def test_a_thread_that_was_forgotten_meanwhile_does_not_matter_to_a_refusal(engine: SlowEngine) -> None:
    engine.routing.policies["slow"] = policy(overload="reject")
    refused = dispatcher(engine)._refusal(call(1), Reason.OVERLOAD, 1)
    assert isinstance(refused, CallError)
    assert refused.code is Code.RESOURCE_EXHAUSTED


class Broken(Caller):
    """A sink with a defect."""

    def wanted(self, place: int) -> bool:
        raise ZeroDivisionError


def test_a_defect_of_a_sink_fails_the_batch_and_the_thread_goes_on(engine: SlowEngine) -> None:
    to, caller = dispatcher(engine), Broken(1)
    to.submit([call(1)], caller)
    assert [outcome.code for outcome in caller.wait()] == [Code.INTERNAL]
    engine.go.release()
    assert submit(to, call(2)).wait() == [(2, Reason.NONE)]


def test_a_defect_of_the_queue_fails_who_waits_and_the_thread_goes_on(
    engine: SlowEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = dispatcher(engine)
    with monkeypatch.context() as patched:
        patched.setattr(
            "steersman.serving.dispatching.waiting.BatchQueue.delay_ns", lambda queue, now: 1 // 0
        )
        assert [outcome.code for outcome in submit(to, call(1), call(2)).wait()] == [Code.INTERNAL] * 2
    engine.go.release()
    assert submit(to, call(3)).wait() == [(3, Reason.NONE)]
    assert to.busy_s() == 0


def test_a_defect_of_the_timer_fails_the_calls_at_hand(
    engine: SlowEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = dispatcher(engine)
    monkeypatch.setattr(to, "_answer_near", lambda ours, now: 1 // 0)
    caller = submit(to, call(1, deadline_s=0.2))
    assert begun(engine) == [1]
    assert [outcome.code for outcome in caller.wait()] == [Code.INTERNAL]


def test_how_long_a_model_is_busy_is_told(engine: SlowEngine) -> None:
    to = dispatcher(engine)
    assert to.busy_s() == 0
    caller = submit(to, call(1))
    begun(engine)
    assert to.busy_s() > 0
    engine.go.release()
    caller.wait()
