"""A second attempt for calls that take unusually long: the first answer wins, the other attempt is cancelled.

Source: Dean and Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013: a second request that
waits for the 95th percentile of latencies adds some 5 % of load and removes most of the tail. Safe for
calls with idempotency keys only: the same key has the same decision, whoever is asked, and counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from grpc import StatusCode

from steersman.client.budgets import HedgeBudget, TailLatency
from steersman.client.effects import Attempt, Park, Send, Signal, Start, Steps
from steersman.client.failures import Failure
from steersman.client.replicas import RETRIED_CODES, Replica, Replicas

HedgeAfter = float | Literal["auto"] | None
"""Seconds until a second replica is asked as well; "auto" for the 95th percentile of this client's calls."""

SILENT = Failure(StatusCode.DEADLINE_EXCEEDED)


@dataclass(slots=True)
class Runner:
    """One of the attempts of a race."""

    replica: Replica
    attempt: Attempt | None = None
    reply: Any = None


@dataclass(slots=True)
class Hedging:
    """When a second attempt is made.

    Attributes:
        after: Seconds, or "auto".
        replicas: Where the attempts go.
        clock: Seconds, monotonic.
        signal: Makes what a race waits with.
        budget: Keeps hedges few.
        latency: What "auto" goes by.
    """

    after: float | Literal["auto"]
    replicas: Replicas
    clock: Callable[[], float]
    signal: Callable[[], Signal]
    budget: HedgeBudget = field(default_factory=HedgeBudget)
    latency: TailLatency = field(default_factory=TailLatency)

    def race(self, send: Send, replica: Replica) -> Steps[Any]:
        """The answer to `send`, which goes to `replica`, and to another one if that takes its time."""
        began = self.clock()
        self.budget.call()
        signal = self.signal()
        runners = [Runner(replica)]
        try:
            runners[0].attempt = yield Start(send, signal)
            after = self._delay(send.timeout)
            if not (yield Park(signal, after)) and (other := self._second(replica)) is not None:
                runners.append(Runner(other))
                runners[1].attempt = yield Start(_later(send, other, self.clock() - began), signal)
            reply = yield from _first_answer(runners, signal)
            if runners[0].reply is None:
                runners[0].reply = SILENT  # the other one was quicker, though it began later
        finally:
            for runner in runners:
                if runner.attempt is not None:
                    runner.attempt.cancel()
                self.replicas.release(runner.replica, runner.reply)
        self.latency.add(self.clock() - began)
        return reply

    def _second(self, first: Replica) -> Replica | None:
        """Another replica, if one is fine and there is a hedge left for it."""
        other = self.replicas.pick_other(first)
        if other is not None and not self.budget.take():
            self.replicas.release(other, None)
            return None
        return other

    def _delay(self, timeout: float | None) -> float | None:
        """Seconds before the second attempt; None where there is to be none."""
        after = self.latency.seconds if self.after == "auto" else self.after
        return None if after is None or (timeout is not None and after >= timeout) else after


def _later(send: Send, other: Replica, passed: float) -> Send:
    timeout = None if send.timeout is None else max(send.timeout - passed, 0.001)
    return replace(send, replica=other.index, timeout=timeout)


def _first_answer(runners: list[Runner], signal: Signal) -> Steps[Any]:
    """The reply that ends the race: the first that no other could better, or else the last failure."""
    running = list(runners)
    while True:
        signal.clear()  # before looking, so that what ends meanwhile raises it again
        for runner in running[:]:
            if runner.attempt is not None and runner.attempt.done():
                runner.reply = runner.attempt.reply()
                running.remove(runner)
                if not running or not _may_be_bettered(runner.reply):
                    return runner.reply
        yield Park(signal, None)


def _may_be_bettered(reply: Any) -> bool:
    return isinstance(reply, Failure) and reply.code in RETRIED_CODES
