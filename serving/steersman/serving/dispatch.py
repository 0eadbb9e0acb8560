"""From transports to the engine: what is decided now, and what waits for a model on a thread.

Policies whose model is quick are decided at once on the caller's thread, all calls that it brings together.
Slow ones have a thread each, where the calls that wait make batches (`waiting`, `model_thread`). A call whose
deadline is too near for the model, or for which there is no room, is answered by its policy's fallback: here
before it waits, by the timer while it waits or while the model has it. The late answer is then dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter_ns

from steersman.serving.batching import BatchPlan, plan_batching
from steersman.serving.call import Call
from steersman.serving.decision import Reason
from steersman.serving.engine import Engine
from steersman.serving.errors import CallError, Code
from steersman.serving.limits import Limits
from steersman.serving.model_thread import ModelThread, decided, deliver, take
from steersman.serving.routing import RoutingTable
from steersman.serving.timer import DeadlineTimer
from steersman.serving.waiting import Outcome, Sink, WaitingCall

__all__ = ["Dispatcher", "Outcome", "Sink"]

MARGIN_NS = 3_000_000
"""What is left of a deadline for the fallback and the way back. Shorter ones are not honoured, but tried."""
LEAST_RETRY_S = 1e-3


class Dispatcher:
    """Takes calls from any thread.

    Args:
        engine: The decision core.
        limits: How much may wait.
        clock: Nanoseconds, on the clock of `Call.deadline_ns`.
    """

    def __init__(self, engine: Engine, limits: Limits, clock: Callable[[], int] = perf_counter_ns) -> None:
        self.engine = engine
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._threads: dict[str, ModelThread] = {}
        self._timer = DeadlineTimer(self._too_near, clock)
        self._planned: tuple[RoutingTable | None, Mapping[str, BatchPlan]] = (None, {})

    def submit(self, calls: Sequence[Call], sink: Sink) -> None:
        """Decides what is micro-sized before it returns, and the rest when its turn has come."""
        plans = self._plans()
        now = self._clock()
        late = [place for place, call in enumerate(calls) if 0 < call.deadline_ns <= now]
        if late or plans:
            self._sort(calls, sink, plans, late)
        else:
            sink.reply(range(len(calls)), decided(self.engine, calls))

    def busy_s(self) -> float:
        """For how long the slowest batch that is in a model now has been there, seconds."""
        now = self._clock()
        with self._lock:
            since = [thread.queue.running_since_ns for thread in self._threads.values()]
        return max((now - start for start in since if start), default=0) * 1e-9

    def _plans(self) -> Mapping[str, BatchPlan]:
        """What runs on threads, by policy; worked out once per routing table."""
        routing = self.engine.routing
        planned, plans = self._planned
        if planned is not routing:
            found = {name: plan_batching(policy) for name, policy in routing.policies.items()}
            plans = {name: plan for name, plan in found.items() if plan is not None}
            self._planned = (routing, plans)
            with self._lock:
                for name in [name for name, thread in self._threads.items() if thread.idle]:
                    del self._threads[name]
        return plans

    def _sort(
        self, calls: Sequence[Call], sink: Sink, plans: Mapping[str, BatchPlan], late: Sequence[int]
    ) -> None:
        """Sends each call its way."""
        if late:
            sink.reply(late, [_expired()] * len(late))
        over = set(late)
        left = [place for place in range(len(calls)) if place not in over]
        if waiting := [place for place in left if calls[place].policy in plans]:
            self._enqueue(calls, waiting, sink, plans)
        if inline := [place for place in left if calls[place].policy not in plans]:
            sink.reply(inline, decided(self.engine, [calls[place] for place in inline]))

    def _enqueue(
        self, calls: Sequence[Call], places: Sequence[int], sink: Sink, plans: Mapping[str, BatchPlan]
    ) -> None:
        """Lets calls wait, and answers those at once that cannot."""
        now = self._clock()
        items = [WaitingCall(calls[place], place, sink, self._rows(calls[place]), now) for place in places]
        with self._lock:  # all of them before the thread sees the first, so that they make one batch
            verdicts = [self._admit(item, plans[item.call.policy]) for item in items]
        refused: list[tuple[int, Call | CallError]] = []
        for item, verdict in zip(items, verdicts, strict=True):
            if verdict is not Reason.NONE:
                refused.append((item.place, self._refusal(item.call, verdict, item.rows)))
            elif item.call.deadline_ns:
                self._timer.add(item.call.deadline_ns - MARGIN_NS, item)
        if refused:
            self._answer_now(refused, sink)

    def _rows(self, call: Call) -> int:
        """Rows of a call that nobody has checked yet; 1 where it will turn out to be malformed."""
        runtime = self.engine.routing.policies.get(call.policy)
        if runtime is None or not runtime.lanes:
            return 1
        spec = runtime.lanes[0].contract.observations[0]
        tensor = call.observations.get(spec.key)
        return max(tensor.elements.size // max(spec.size, 1), 1) if tensor is not None else 1

    def _admit(self, item: WaitingCall, plan: BatchPlan) -> Reason:
        """Lets a call wait, or says why it cannot. The lock is held."""
        call = item.call
        thread = self._threads.get(call.policy)
        if thread is None:
            thread = ModelThread(call.policy, plan, self.engine, self._lock, self._clock)
            self._threads[call.policy] = thread
        queue = thread.queue
        queue.plan = plan
        waiting = sum(other.queue.rows for other in self._threads.values())
        if waiting and waiting + item.rows > self._limits.max_waiting_rows:
            return Reason.OVERLOAD
        if call.deadline_ns:
            ends = call.deadline_ns - MARGIN_NS
            if item.entered_ns + int(queue.wait_s(item.rows, item.entered_ns) * 1e9) > ends:
                queue.forgive()
                return Reason.DEADLINE_TOO_NEAR
            item.last_start_ns = ends - int(queue.seconds(item.rows) * 1e9)
        thread.put(item)
        return Reason.NONE

    def _refusal(self, call: Call, reason: Reason, rows: int) -> Call | CallError:
        """The call as the fallback shall answer it, or its failure where the deployment says so."""
        if reason is Reason.OVERLOAD:
            policy = self.engine.routing.policies.get(call.policy)
            if policy is not None and policy.route.overload == "reject":
                with self._lock:
                    wait_s = self._threads[call.policy].queue.wait_s(rows, self._clock())
                return overloaded(wait_s)
        return replace(call, refused=reason)

    def _answer_now(self, refused: Sequence[tuple[int, Call | CallError]], sink: Sink) -> None:
        failed = [(place, what) for place, what in refused if isinstance(what, CallError)]
        asked = [(place, what) for place, what in refused if not isinstance(what, CallError)]
        if failed:
            sink.reply([place for place, _ in failed], [error for _, error in failed])
        if asked:
            sink.reply([place for place, _ in asked], decided(self.engine, [call for _, call in asked]))

    def _too_near(self, due: Sequence[WaitingCall]) -> None:
        """The deadlines of calls are near that wait or are in the model: the fallback answers in time."""
        now = self._clock()
        with self._lock:
            ours = take(due)
            for name in {item.call.policy for item in ours}:
                if thread := self._threads.get(name):
                    thread.queue.drop(ours)
        over = [item for item in ours if item.call.deadline_ns <= now]
        near = [item for item in ours if item.call.deadline_ns > now]
        deliver(over, [_expired()] * len(over))
        if near:
            calls = [replace(item.call, refused=Reason.DEADLINE_TOO_NEAR) for item in near]
            deliver(near, decided(self.engine, calls))


def overloaded(retry_after_s: float) -> CallError:
    """The failure of a call for which there is no room now."""
    return CallError(
        Code.RESOURCE_EXHAUSTED,
        str(Reason.OVERLOAD),
        "too much is waiting; try again later",
        retryable=True,
        retry_after_s=max(retry_after_s, LEAST_RETRY_S),
    )


def _expired() -> CallError:
    return CallError(
        Code.DEADLINE_EXCEEDED, "deadline_exceeded", "the deadline passed before the call was decided"
    )
