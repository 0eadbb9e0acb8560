"""Concurrent calls for one row each, merged into one call for a batch.

As with Nagle's algorithm (RFC 896): while nothing is under way a call goes out at once, and those that come
meanwhile wait for its return, then go together. So a lone caller waits for nobody, and many share the costs
of a call. Of those that go together the one with the latest deadline makes the call for all: it leads. No
thread or task is needed beside the callers' own, and nobody waits beyond their own deadline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from steersman.client.decision import Decision, Decisions
from steersman.client.effects import Signal
from steersman.client.errors import ClientError, InvalidRequestError
from steersman.v1 import policy_pb2 as pb


@dataclass(frozen=True, slots=True)
class Coalesce:
    """How concurrent calls of `act` are merged.

    Attributes:
        max_rows: Most rows of a merged call.
        max_delay: Most seconds that a call waits for the one under way before it goes without its return.
    """

    max_rows: int = 64
    max_delay: float = 0.005

    def __post_init__(self) -> None:
        if self.max_rows < 1 or not self.max_delay >= 0:
            raise InvalidRequestError(
                f"coalesce is {self}; expected max_rows of 1 or more, max_delay of 0 or more",
                reason="coalesce",
            )


class Duty(Enum):
    """What a caller has to do next."""

    WAIT = auto()
    """Others will decide."""
    LEAD = auto()
    """Make the call for the whole batch."""
    ALONE = auto()
    """Make its own call: the batch was refused, perhaps for another's row."""
    DONE = auto()
    """Take the outcome."""


@dataclass(slots=True, eq=False)
class Seat:
    """One caller.

    Attributes:
        request: Its request, with one row.
        signal: Raised when its duty has changed.
        ends: When its own deadline passes.
        goes: When it waits no longer for the call under way.
        duty: What it has to do next.
        batch: The callers that it leads, itself among them.
        outcome: Its decision is that row of those; or its error.
    """

    request: pb.ActRequest
    signal: Signal
    ends: float
    goes: float = 0.0
    duty: Duty = Duty.WAIT
    batch: list[Seat] = field(default_factory=list)
    outcome: tuple[Decisions, int] | ClientError | None = None

    def turn(self, duty: Duty) -> None:
        """It has this duty now."""
        self.duty = duty
        self.signal.set()

    def decision(self) -> Decision:
        """Its own row.

        Raises:
            ClientError: The row has no action, or the call failed.
        """
        if isinstance(self.outcome, ClientError):
            raise self.outcome
        if self.outcome is None:
            raise AssertionError("a seat is done only with an outcome")
        decisions, row = self.outcome
        decision = decisions[row]
        return replace(decision, interventions=tuple(replace(i, row=0) for i in decision.interventions))


@dataclass(slots=True)
class Line:
    """Callers with the same question: the calls under way, and who waits."""

    flying: int = 0
    waiting: list[Seat] = field(default_factory=list)


@dataclass(slots=True)
class Coalescer:
    """Who goes when, and with whom. Threads may share it; nothing in it waits.

    Attributes:
        settings: How calls are merged.
        clock: Seconds, monotonic.
        lines: Lines in which somebody waits or flies.
    """

    settings: Coalesce
    clock: Callable[[], float]
    lines: dict[Hashable, Line] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def join(self, key: Hashable, seat: Seat) -> None:
        """A caller comes; it leads at once if nothing is under way."""
        with self._lock:
            line = self.lines.setdefault(key, Line())
            seat.goes = self.clock() + self.settings.max_delay
            line.waiting.append(seat)
            if line.flying == 0 or len(line.waiting) >= self.settings.max_rows:
                self._fly(line)

    def overdue(self, key: Hashable, seat: Seat) -> None:
        """A caller has waited long enough: it goes, with all who wait."""
        with self._lock:
            if seat.duty is Duty.WAIT and (line := self.lines.get(key)) and seat in line.waiting:
                self._fly(line)

    def landed(self, key: Hashable, seat: Seat, result: Decisions | ClientError) -> None:
        """The leader's call has ended so. An error that one row may be to blame for sends all out alone."""
        with self._lock:
            batch, seat.batch = seat.batch, []
            alone = isinstance(result, InvalidRequestError) and len(batch) > 1
            for row, member in enumerate(batch):
                if alone:
                    member.turn(Duty.ALONE)
                    continue
                member.outcome = result.copy() if isinstance(result, ClientError) else (result, row)
                member.turn(Duty.DONE)
            self._next(key)

    def leave(self, key: Hashable, seat: Seat) -> None:
        """A caller goes, with its decision or without. Of a batch that it leads another takes over."""
        with self._lock:
            line = self.lines.get(key)
            if line is None:
                return
            if seat in line.waiting:
                line.waiting.remove(seat)
            if seat.batch:
                abandoned = [m for m in seat.batch if m is not seat and m.duty is Duty.WAIT]
                seat.batch = []
                line.flying -= 1
                line.waiting[:0] = abandoned
                if line.waiting and (abandoned or line.flying == 0):
                    self._fly(line)
            seat.duty = Duty.DONE
            self._forget_if_empty(key, line)

    def _next(self, key: Hashable) -> None:
        line = self.lines[key]
        line.flying -= 1
        if line.flying == 0 and line.waiting:
            self._fly(line)
        self._forget_if_empty(key, line)

    def _forget_if_empty(self, key: Hashable, line: Line) -> None:
        if line.flying == 0 and not line.waiting:
            self.lines.pop(key, None)

    def _fly(self, line: Line) -> None:
        batch = line.waiting[: self.settings.max_rows]
        del line.waiting[: self.settings.max_rows]
        line.flying += 1
        leader = max(batch, key=lambda seat: seat.ends)
        leader.batch = batch
        leader.turn(Duty.LEAD)


def coalescer(settings: Coalesce | bool, clock: Callable[[], float]) -> Coalescer | None:  # noqa: FBT001
    """What merges calls; None where each goes by itself."""
    if not settings:
        return None
    return Coalescer(Coalesce() if settings is True else settings, clock)
