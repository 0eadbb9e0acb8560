"""Which of several replicas a call goes to: a state machine that is told what happened, and the time.

A replica is fine unless its health service says that it is not serving, the connection to that has broken,
or calls just found nobody there. Fine ones are picked first, then what may still answer, and never nobody:
what is known of a replica may be old, and a call that is sent may succeed.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from grpc import StatusCode

from steersman.client.budgets import RetryThrottle
from steersman.client.failures import Failure
from steersman.client.mistakes import Mistake

FIRST_REST = 0.1
LONGEST_REST = 5.0
SILENCES = 2
"""Calls in a row that a replica leaves unanswered until it is spared: one may have had too little time."""

RETRIED_CODES = frozenset({StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED})
"""Failures that speak against the replica and for another attempt."""


class Health(StrEnum):
    """What is known of a replica from its `grpc.health.v1` service."""

    UNKNOWN = "unknown"
    """Nothing yet, or it has no such service."""
    SERVING = "serving"
    """It wants calls."""
    NOT_SERVING = "not_serving"
    """It wants no new calls; it starts, or is about to end."""
    BROKEN = "broken"
    """It cannot be reached."""


@dataclass(slots=True, eq=False)
class Replica:
    """One server, as this client knows it.

    Attributes:
        index: Its place among the addresses given.
        address: Where it is.
        health: What its health service says.
        in_flight: Calls of this client that it has not answered.
        failures: Calls in a row that found nobody there.
        silences: Calls in a row that were not answered in time.
        rests_until: Time until which it is spared for that, if others are fine.
        turn: When it was last picked, as a count of all picks.
        throttle: Whether it may be sent retries.
        examined: When it was last looked at for what it speaks.
        mistake: What was found then.
    """

    index: int
    address: str
    health: Health = Health.UNKNOWN
    in_flight: int = 0
    failures: int = 0
    silences: int = 0
    rests_until: float = -math.inf
    turn: int = 0
    throttle: RetryThrottle = field(default_factory=RetryThrottle)
    examined: float = -math.inf
    mistake: Mistake | None = None

    def rank(self, now: float) -> int:
        """0 where it is fine; otherwise the lower, the likelier it answers."""
        if self.health is Health.BROKEN:
            return 3
        if now < self.rests_until:
            return 2
        return 1 if self.health is Health.NOT_SERVING else 0  # a server that drains still answers


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A replica as its client sees it at a moment.

    Attributes:
        address: Where it is.
        health: What its health service says; "unknown" where a client has only one replica, and watches none.
        in_flight: Calls that it has not answered.
        fine: Whether it gets calls as long as others are there.
    """

    address: str
    health: Health
    in_flight: int
    fine: bool


@dataclass(slots=True)
class Replicas:
    """All replicas of a client. Threads may share it.

    Args:
        addresses: Where they are.
        clock: Seconds, monotonic.
    """

    addresses: Sequence[str]
    clock: Callable[[], float]
    all: tuple[Replica, ...] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _turns: int = 0

    def __post_init__(self) -> None:
        self.all = tuple(Replica(index, address) for index, address in enumerate(self.addresses))

    def __len__(self) -> int:
        return len(self.all)

    def pick(self, tried: Collection[Replica] = (), *, wanted: Replica | None = None) -> Replica:
        """The replica for an attempt: not yet tried, fine, with the fewest calls, picked longest ago.

        Args:
            tried: Those that have failed this call.
            wanted: Taken instead, if it is fine and not tried.
        """
        with self._lock:
            if len(self.all) == 1:
                return self._take(self.all[0])
            now = self.clock()
            if wanted is None or wanted in tried or wanted.rank(now) > 0:
                wanted = min(self.all, key=lambda r: (r in tried, r.rank(now), r.in_flight, r.turn))
            return self._take(wanted)

    def pick_other(self, than: Replica) -> Replica | None:
        """Another replica for the same call at the same time, if one is fine and takes more."""
        with self._lock:
            now = self.clock()
            fine = [r for r in self.all if r is not than and r.rank(now) == 0 and r.throttle.open]
            return self._take(min(fine, key=lambda r: (r.in_flight, r.turn))) if fine else None

    def _take(self, replica: Replica) -> Replica:
        self._turns += 1
        replica.turn = self._turns
        replica.in_flight += 1
        return replica

    def release(self, replica: Replica, reply: Any) -> None:
        """An attempt has ended with this reply; None where it was given up, which says nothing."""
        with self._lock:
            replica.in_flight -= 1
            if isinstance(reply, Failure):
                self._note(replica, reply)
            elif reply is not None:
                replica.throttle.succeeded()
                self._welcome(replica)

    def _note(self, replica: Replica, failure: Failure) -> None:
        """What a failure says of the replica; a message that is too large says nothing against it."""
        code = failure.code
        if code == StatusCode.DEADLINE_EXCEEDED:
            replica.silences += 1
            if replica.silences >= SILENCES:
                self._rest(replica)
        elif code in RETRIED_CODES and not failure.too_large:
            replica.throttle.failed()
            if code == StatusCode.UNAVAILABLE:
                self._rest(replica)
            else:
                self._welcome(replica)
        elif code != StatusCode.CANCELLED:
            replica.throttle.succeeded()
            self._welcome(replica)

    def _rest(self, replica: Replica) -> None:
        replica.rests_until = self.clock() + min(LONGEST_REST, FIRST_REST * 2.0 ** min(replica.failures, 30))
        replica.failures += 1

    @staticmethod
    def _welcome(replica: Replica) -> None:
        replica.failures, replica.silences, replica.rests_until = 0, 0, -math.inf

    def hear(self, replica: Replica, health: Health) -> None:
        """Its health service says this, or has broken."""
        with self._lock:
            replica.health = health
            if health == Health.SERVING:
                self._welcome(replica)

    def is_fine(self, replica: Replica) -> bool:
        """Whether nothing speaks against the replica."""
        return replica.rank(self.clock()) == 0

    def status(self) -> tuple[ReplicaStatus, ...]:
        """All replicas, as they are now."""
        return tuple(ReplicaStatus(r.address, r.health, r.in_flight, self.is_fine(r)) for r in self.all)

    def may_retry(self, tried: Collection[Replica]) -> bool:
        """Whether a replica that another attempt could go to takes retries."""
        untried = [replica for replica in self.all if replica not in tried]
        return any(replica.throttle.open for replica in untried or self.all)
