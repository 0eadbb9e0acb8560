"""From transports to the engine: what is decided now, and what waits for a model on a thread.

Policies whose model is quick are decided at once on the caller's thread, the calls that it brings together,
as many at a time as do not keep that thread for long (`placing`). Slow models, and calls of very many rows,
have a thread a policy, where the calls that wait make batches (`waiting`, `model_thread`). A call whose
deadline is too near for the model, or for which there is no room, is answered by its policy's fallback: here
before it waits, by the timer while it waits or while the model has it. The late answer is then dropped.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter_ns

from steersman.serving.deciding.call import Call
from steersman.serving.deciding.engine import Engine
from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.decision import Reason
from steersman.serving.dispatching.batching import BatchPlan
from steersman.serving.dispatching.model_thread import ModelThread, decided, defect, deliver, take
from steersman.serving.dispatching.placing import PolicyPlan, plan_places
from steersman.serving.dispatching.timer import DeadlineTimer
from steersman.serving.dispatching.waiting import Outcome, Sink, WaitingCall
from steersman.serving.errors import CallError, Code
from steersman.serving.limits import Limits

__all__ = ["Dispatcher", "Outcome", "Sink"]

MARGIN_NS = 3_000_000
"""What is left of a deadline for the fallback and the way back. Shorter ones are not honoured, but tried."""
LEAST_RETRY_S = 1e-3
INLINE_RETRY_S = 0.05
"""Hint for calls of which too many came together; nobody forecasts those."""
NOT_TIMED = BatchPlan((), 0, (1,))
Sized = tuple[int, Call, int]
"""A call, with its place before it and its rows after it."""
log = logging.getLogger(__name__)


class Dispatcher:
    """Takes calls from any thread.

    Args:
        engine: The decision core.
        limits: How much may wait, or come together to be decided at once.
        clock: Nanoseconds, on the clock of `Call.deadline_ns`.
    """

    def __init__(self, engine: Engine, limits: Limits, clock: Callable[[], int] = perf_counter_ns) -> None:
        self.engine = engine
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._threads: dict[str, ModelThread] = {}
        self._timer = DeadlineTimer(self._too_near, clock)
        self._planned: tuple[RoutingTable | None, Mapping[str, PolicyPlan]] = (None, {})

    def submit(self, calls: Sequence[Call], sink: Sink) -> None:
        """Decides what is micro-sized before it returns, and the rest when its turn has come."""
        plans = self._plans()
        now = self._clock()
        late: list[int] = []
        inline: list[int] = []
        waiting: list[int] = []
        sizes: list[int] = []
        share = 0.0
        for place, call in enumerate(calls):
            plan = plans.get(call.policy)
            rows = 1 if plan is None else plan.rows(call)
            sizes.append(rows)
            if 0 < call.deadline_ns <= now:
                late.append(place)
            elif plan is None or rows <= plan.inline_rows or plan.thread is None:
                inline.append(place)
                share += rows / plan.inline_rows if plan is not None else 0.0
            else:
                waiting.append(place)
        if late:
            sink.reply(late, [_expired()] * len(late))
        if waiting:
            self._enqueue([(place, calls[place], sizes[place]) for place in waiting], sink, plans)
        if share > 1.0 or sum(sizes) > self._limits.max_waiting_rows:
            self._decide_in_pieces([(place, calls[place], sizes[place]) for place in inline], sink, plans)
        elif inline:
            self._decide_now(inline, [calls[place] for place in inline], sink)

    def inline_rows(self, policy: str) -> int:
        """Most rows that are decided in one go, at once; 0 where the policy has a thread, or is unknown."""
        plan = self._plans().get(policy)
        return 0 if plan is None else plan.inline_rows

    def busy_s(self) -> float:
        """For how long the slowest batch that is in a model now has been there, seconds."""
        now = self._clock()
        with self._lock:
            since = [thread.queue.running_since_ns for thread in self._threads.values()]
        return max((now - start for start in since if start), default=0) * 1e-9

    def _plans(self) -> Mapping[str, PolicyPlan]:
        """Where calls are decided, by policy; worked out once per routing table."""
        routing = self.engine.routing
        planned, plans = self._planned
        if planned is not routing:
            plans = plan_places(routing.policies)
            self._planned = (routing, plans)
            with self._lock:
                for name in [name for name, thread in self._threads.items() if thread.idle]:
                    del self._threads[name]
        return plans

    def _decide_in_pieces(self, found: Sequence[Sized], sink: Sink, plans: Mapping[str, PolicyPlan]) -> None:
        """Decides many rows, but in no model for long at a time, and no more than may wait."""
        refused: list[tuple[int, Call | CallError]] = []
        pieces: list[list[tuple[int, Call]]] = [[]]
        total, share = 0, 0.0
        for place, call, rows in found:
            plan = plans.get(call.policy)
            if total and total + rows > self._limits.max_waiting_rows:
                refused.append((place, self._refusal(call, Reason.OVERLOAD, rows)))
                continue
            part = rows / plan.inline_rows if plan is not None else 0.0
            if pieces[-1] and share + part > 1.0:
                pieces.append([])
                share = 0.0
            pieces[-1].append((place, call))
            total, share = total + rows, share + part
        if refused:
            self._answer_now(refused, sink)
        for piece in pieces:
            if piece:
                self._decide_now([place for place, _ in piece], [call for _, call in piece], sink)

    def _decide_now(self, places: Sequence[int], calls: Sequence[Call], sink: Sink) -> None:
        """Decides and answers; what callers need not wait for comes last."""
        try:
            begun = self.engine.begin(calls)
        except Exception:
            log.exception("defect while deciding", extra={"policy": calls[0].policy})
            sink.reply(places, [defect()] * len(calls))
            return
        try:
            sink.reply(places, begun.outcomes)
        finally:
            begun.settle()

    def _enqueue(self, found: Sequence[Sized], sink: Sink, plans: Mapping[str, PolicyPlan]) -> None:
        """Lets calls wait, and answers those at once that cannot."""
        now = self._clock()
        items = [WaitingCall(call, place, sink, rows, now) for place, call, rows in found]
        with self._lock:  # all of them before the thread sees the first, so that they make one batch
            verdicts = [self._admit(item, plans[item.call.policy].thread or NOT_TIMED) for item in items]
        refused: list[tuple[int, Call | CallError]] = []
        for item, verdict in zip(items, verdicts, strict=True):
            if verdict is not Reason.NONE:
                refused.append((item.place, self._refusal(item.call, verdict, item.rows)))
            elif item.call.deadline_ns:
                self._timer.add(item.call.deadline_ns - MARGIN_NS, item)
        if refused:
            self._answer_now(refused, sink)

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
                with self._lock:  # another routing table may have forgotten the thread meanwhile
                    thread = self._threads.get(call.policy)
                    return overloaded(thread.queue.wait_s(rows, self._clock()) if thread else INLINE_RETRY_S)
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
        try:
            self._answer_near(ours, now)
        except Exception:
            log.exception("defect while answering calls whose deadlines are near")
            deliver(ours, [defect()] * len(ours))

    def _answer_near(self, ours: Sequence[WaitingCall], now: int) -> None:
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
