"""The client without input and output: calls with deadlines, several attempts, and typed errors.

Example:
    >>> def ask(caller, request, deadline):
    ...     answer = yield from caller.call("Act", request, deadline)  # yields Send, and Wait before a retry
    ...     return answer.decision_ids
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.message import Message
from grpc import StatusCode

from steersman.client.effects import Ambient, Examine, Rpc, Send, Signal, Steps, Tools, Wait
from steersman.client.errors import ClientError, InvalidRequestError
from steersman.client.failures import Failure, error_of
from steersman.client.health import watch_all
from steersman.client.hedging import HedgeAfter, Hedging
from steersman.client.replicas import RETRIED_CODES, Replica, Replicas

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
LONGEST_LOOK = 1.0
"""Seconds that finding out what a server speaks may take, and in which it is not looked at again."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a call must have ended: `limit` seconds after it began; None for never."""

    limit: float | None
    at: float

    @property
    def ends(self) -> float:
        """When it passes, on the client's clock."""
        return math.inf if self.limit is None else self.at + self.limit


@dataclass(slots=True)
class Tries:
    """The attempts of one call so far.

    Attributes:
        made: How many.
        rounds: How often all replicas were tried in vain.
        tried: Replicas that failed in this round.
        hopeless: How many of those would fail again.
    """

    made: int = 0
    rounds: int = 0
    tried: list[Replica] = field(default_factory=list)
    hopeless: int = 0

    def add(self, replica: Replica, failure: Failure) -> None:
        """An attempt has failed."""
        self.made += 1
        self.tried.append(replica)
        self.hopeless += failure.lasts

    def next_round(self) -> None:
        """All replicas were tried in vain, and are tried again."""
        self.rounds += 1
        self.tried.clear()
        self.hopeless = 0


@dataclass(slots=True)
class Caller:
    """Makes calls with deadlines and retries, and turns failures into errors.

    Attributes:
        addresses: Addresses of the servers, which are replicas of each other.
        timeout: Seconds that a call may take unless it says otherwise; None for no limit.
        retries: How many times a call is made again at most, if the server was unavailable.
        tools: What calls wait with.
        ambient: Time and chance.
        hedge_after: When a second attempt is made beside the first.
        replicas: What is known of the servers.
        closed: Raised when the client was closed.
    """

    addresses: Sequence[str]
    timeout: float | None
    retries: int
    tools: Tools
    ambient: Ambient = field(default_factory=Ambient)
    hedge_after: HedgeAfter = None
    replicas: Replicas = field(init=False)
    closed: Signal = field(init=False)
    _hedging: Hedging | None = field(init=False, default=None)
    _watching: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.closed = self.tools.signal()
        self.replicas = Replicas(self.addresses, self.ambient.clock)
        after = self.hedge_after
        if after is not None and after != "auto" and not after > 0:
            message = f'hedge_after is {after}; expected seconds above 0, "auto" or None'
            raise InvalidRequestError(message, reason="hedge_after")
        if after is not None and len(self.replicas) > 1:
            self._hedging = Hedging(after, self.replicas, self.ambient.clock, self.tools.signal)

    @property
    def target(self) -> str:
        """Where the servers are, for errors."""
        return ", ".join(self.addresses)

    @property
    def keyed(self) -> bool:
        """Whether an attempt may be repeated, so that rows need idempotency keys."""
        return self.retries > 0 or self._hedging is not None

    def deadline(self, timeout: float | None) -> Deadline:
        """The deadline of a call that begins now.

        Raises:
            ClientError: The client was closed, or the timeout is no time.
        """
        if self.closed.is_set():
            raise ClientError(
                "this client is closed; make a new one", code=StatusCode.CANCELLED, reason="client_closed"
            )
        limit = self.timeout if timeout is None else timeout
        if limit is not None and not limit > 0:
            raise InvalidRequestError(f"timeout is {limit}; expected seconds above 0", reason="timeout")
        return Deadline(limit, self.ambient.clock())

    def remaining(self, deadline: Deadline) -> float | None:
        """Seconds left; None for no limit."""
        return None if deadline.limit is None else deadline.ends - self.ambient.clock()

    def call(self, rpc: Rpc, request: Message, deadline: Deadline, *, repeatable: bool = True) -> Steps[Any]:
        """The answer to one call.

        Args:
            rpc: Method of `PolicyService`.
            request: Its request.
            deadline: For all attempts together.
            repeatable: Whether it does no harm to make the call twice; otherwise it is never retried.

        Raises:
            ClientError: The call failed, the last time if it was retried.
        """
        yield from self.begin()
        tries = Tries()
        while True:
            remaining = self.remaining(deadline)
            if remaining is not None and remaining <= 0:
                raise self.error(Failure(StatusCode.DEADLINE_EXCEEDED), rpc, deadline)
            replica = self.pick(tries.tried)
            reply = yield from self.attempt(
                Send(rpc, request, remaining, replica=replica.index), replica, repeatable=repeatable
            )
            if not isinstance(reply, Failure):
                return reply
            reply = yield from self.explained(reply, replica, deadline)
            tries.add(replica, reply)
            pause = self._pause_before_retry(reply, tries, deadline) if repeatable else None
            if pause is None:
                raise self.error(reply, rpc, deadline, attempts=tries.made, replica=replica)
            if pause > 0:
                yield Wait(pause)

    def begin(self) -> Steps[None]:
        """Done once, by the first call: where there is a choice, the replicas are watched."""
        if not self._watching and len(self.replicas) > 1:
            self._watching = True
            yield from watch_all(self.replicas, self.closed, self.pause)

    def pick(self, tried: Sequence[Replica]) -> Replica:
        """The replica for the next attempt; `attempt` gives it back."""
        return self.replicas.pick(tried)

    def attempt(self, send: Send, replica: Replica, *, repeatable: bool) -> Steps[Any]:
        """One attempt, or two at the same time. The reply is the answer, or a `Failure`."""
        if self._hedging is not None and repeatable and send.rpc == "Act":
            return (yield from self._hedging.race(send, replica))
        reply = None
        try:
            reply = yield send
        finally:
            self.replicas.release(replica, reply)
        return reply

    def explained(self, failure: Failure, replica: Replica, deadline: Deadline) -> Steps[Failure]:
        """The failure, with the mistake behind it if it is one of TLS that can be found out.

        A server that cannot be talked to is looked at once in a while, and not by every call.
        """
        now = self.ambient.clock()
        if not failure.unclear:
            return failure
        if now - replica.examined >= LONGEST_LOOK and deadline.ends > now:
            replica.examined = now
            replica.mistake = yield Examine(replica.index, min(LONGEST_LOOK, deadline.ends - now))
        return failure if replica.mistake is None else replace(failure, mistake=replica.mistake)

    def pause(self, attempt: int) -> float:
        """Seconds before the next attempt: exponential, jittered so that callers do not return as one.

        Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015).
        """
        return self.ambient.uniform() * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt, 30))

    def _pause_before_retry(self, failure: Failure, tries: Tries, deadline: Deadline) -> float | None:
        """Seconds until the next attempt; None if there is to be none."""
        forbidden = failure.pushback is not None and failure.pushback < 0
        if forbidden or failure.code not in RETRIED_CODES or tries.made > self.retries:
            return None
        if failure.pushback is None and failure.code != StatusCode.UNAVAILABLE:
            return None
        if tries.hopeless >= len(self.replicas) or not self.replicas.may_retry(tries.tried):
            return None
        pause = self._pause_of(failure, tries)
        remaining = self.remaining(deadline)
        return pause if remaining is None or pause < remaining else None

    def _pause_of(self, failure: Failure, tries: Tries) -> float:
        """None at all where another replica is left; otherwise a new round begins, later."""
        pause = 0.0
        if len(tries.tried) >= len(self.replicas):
            pause = self.pause(tries.rounds)
            tries.next_round()
        return pause if failure.pushback is None else failure.pushback

    def error(
        self,
        failure: Failure,
        rpc: Rpc,
        deadline: Deadline,
        *,
        attempts: int = 1,
        replica: Replica | None = None,
    ) -> ClientError:
        """The error that a caller sees for a failed call; a mistake in TLS is that of one replica."""
        target = replica.address if replica is not None and failure.mistake else self.target
        return error_of(failure, target, rpc, limit=deadline.limit, attempts=attempts)
