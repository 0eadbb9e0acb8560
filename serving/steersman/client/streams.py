"""Calls over one stream: many in flight, answers paired by correlation ids, opened anew when it breaks.

A stream is one more way to make an attempt: deadlines, retries and errors are those of unary calls. When a
stream breaks, its calls fail as if the server had gone, and are retried on a new one, at another replica if
there is one. The server remembers the tokens of a stream's episodes; they are sent nevertheless, with each
step. So a step that is repeated, because its answer was lost or came too late, is decided in the state that
it had, and an episode goes on wherever the stream is opened next.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from grpc import StatusCode

from steersman.client.core import Caller, Deadline
from steersman.client.effects import Next, Open, Outbox, Park, Send, Signal, Spawn, Steps
from steersman.client.errors import ClientError, InvalidRequestError
from steersman.client.failures import CLOSED, Failure, read_status
from steersman.client.replicas import Replica
from steersman.v1 import policy_pb2 as pb

MAX_IN_FLIGHT = 128
"""Calls of one stream that may be unanswered; servers read on only up to a limit of their own."""

_FOREVER = 1e9  # seconds; more than fits in nanoseconds may be asked for

ENDED = Failure(StatusCode.UNAVAILABLE, "the server ended the stream")
LATE = Failure(StatusCode.DEADLINE_EXCEEDED)


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream ended for a reason that need not be this call's."""

    failure: Failure


Reply = pb.ActResponse | Failure | Broken


@dataclass(slots=True, eq=False)
class Slot:
    """A call that waits for its answer."""

    signal: Signal
    reply: Reply | None = None

    def fill(self, reply: Reply) -> None:
        """Its answer came."""
        self.reply = reply
        self.signal.set()


@dataclass(slots=True, eq=False)
class Link:
    """One stream, from its opening to its end.

    Attributes:
        replica: Where it goes.
        outbox: What is written to it.
        pending: Calls without an answer, by correlation id.
        retired: It takes no new calls.
    """

    replica: Replica
    outbox: Outbox
    pending: dict[int, Slot] = field(default_factory=dict)
    retired: bool = False

    def retire(self) -> None:
        """No new calls; it is closed once the last answer is here."""
        self.retired = True
        self.finish_if_done()

    def finish_if_done(self) -> None:
        """Closes a retired stream that waits for nothing."""
        if self.retired and not self.pending:
            self.outbox.finish()


@dataclass(slots=True)
class Room:
    """Places for so many calls; who finds none waits in line."""

    places: int
    make_signal: Callable[[], Signal]
    _waiting: deque[Signal] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def enter(self) -> Signal | None:
        """Takes a place; or gives the signal that is raised when there is one."""
        with self._lock:
            if self.places > 0:
                self.places -= 1
                return None
            self._waiting.append(self.make_signal())
            return self._waiting[-1]

    def leave(self, signal: Signal | None) -> None:
        """Gives the place, or the place in line, to the next."""
        with self._lock:
            if signal is not None and signal in self._waiting:
                self._waiting.remove(signal)
            elif self._waiting:
                self._waiting.popleft().set()
            else:
                self.places += 1


@dataclass(slots=True)
class StreamCaller(Caller):
    """Makes `Act` calls over a stream, and all others as its parent does. Threads may share it.

    Attributes:
        parent: The client's own caller.
        max_in_flight: Calls that may be unanswered; further ones wait.
    """

    parent: Caller = field(kw_only=True)
    max_in_flight: int = field(kw_only=True, default=MAX_IN_FLIGHT)
    _room: Room = field(init=False)
    _link: Link | None = field(init=False, default=None)
    _ids: int = field(init=False, default=0)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if self.max_in_flight < 1:
            message = f"max_in_flight is {self.max_in_flight}; expected 1 or more"
            raise InvalidRequestError(message, reason="max_in_flight")
        self.closed = self.tools.signal()
        self.replicas = self.parent.replicas
        self._room = Room(self.max_in_flight, self.tools.signal)

    def deadline(self, timeout: float | None) -> Deadline:
        """The deadline of a call that begins now.

        Raises:
            ClientError: The stream or its client was closed, or the timeout is no time.
        """
        if self.closed.is_set():
            message = "this stream is closed; open another"
            raise ClientError(message, code=StatusCode.CANCELLED, reason="stream_closed")
        return self.parent.deadline(timeout)

    def begin(self) -> Steps[None]:
        """What the client does once."""
        yield from self.parent.begin()

    def pick(self, tried: Sequence[Replica]) -> Replica:
        """The replica of the open stream, as long as that is fine."""
        link = self._link
        return self.replicas.pick(tried, wanted=link.replica if link else None)

    def attempt(self, send: Send, replica: Replica, *, repeatable: bool) -> Steps[Any]:
        """One attempt, over the stream if it is an `Act`.

        A stream that breaks with anything else than UNAVAILABLE does not say which of its calls was to
        blame, such as one that is too large. Then each is made again by itself, which is safe for those
        with keys.
        """
        ends = math.inf if send.timeout is None else self.ambient.clock() + send.timeout
        signal = self._room.enter()
        reply: Any = None
        try:
            if signal is not None and not (yield Park(signal, send.timeout)):
                reply = LATE
            elif send.rpc == "Act":
                reply = yield from self._exchange(send, replica, ends)
            if reply is None or (isinstance(reply, Broken) and repeatable):
                _address(send.request, 0, None)
                reply = yield replace(send, timeout=self._until(ends))
            if isinstance(reply, Broken):
                reply = reply.failure
        finally:
            self._room.leave(signal)
            self.replicas.release(replica, reply)
        return reply

    def close(self) -> None:
        """Takes no new calls; those in flight are still answered."""
        self.closed.set()
        with self._lock:
            if self._link is not None:
                self._link.retire()
                self._link = None

    def _until(self, ends: float) -> float | None:
        return None if ends == math.inf else max(ends - self.ambient.clock(), 0.0)

    def _exchange(self, send: Send, replica: Replica, ends: float) -> Steps[Reply]:
        """Writes the request, and waits for the answer with its correlation id."""
        with self._lock:
            link = self._link
            is_new = link is None or link.replica is not replica
            if link is None or is_new:
                link = self._open_link(replica)
            self._ids += 1
            number = self._ids
            slot = link.pending[number] = Slot(self.tools.signal())
            _address(send.request, number, self._until(ends))
            link.outbox.put(send.request)
        try:
            if is_new:
                yield Spawn(self._read(link))
            yield Park(slot.signal, self._until(ends))
            return slot.reply or LATE
        finally:
            with self._lock:
                link.pending.pop(number, None)
                link.finish_if_done()

    def _open_link(self, replica: Replica) -> Link:
        if self._link is not None:
            self._link.retire()
        self._link = Link(replica, self.tools.outbox())
        return self._link

    def _read(self, link: Link) -> Steps[None]:
        """Hands the stream's answers to those who wait, until it ends."""
        stream = yield Open("ActStream", link.replica.index, outbox=link.outbox)
        reply = stream if isinstance(stream, Failure) else (yield Next(stream))
        while isinstance(reply, pb.ActResponse):
            if (slot := link.pending.get(reply.correlation_id)) is not None:
                slot.fill(read_status(reply.status) if reply.status.code else reply)
            reply = yield Next(stream)
        with self._lock:
            if self._link is link:
                self._link = None
            for slot in link.pending.values():
                slot.fill(_what_broke(reply))
            link.outbox.finish()


def _address(request: Any, number: int, seconds: float | None) -> None:
    """Says in a request which answer is its own, and within what time it is wanted."""
    if isinstance(request, pb.ActRequest):
        request.correlation_id = number
        request.timeout_nanos = 0 if seconds is None else max(int(min(seconds, _FOREVER) * 1e9), 1)


def _what_broke(end: Failure | None) -> Failure | Broken:
    """What a stream's end means to its unanswered calls."""
    if end is None or (end.code == StatusCode.CANCELLED and end != CLOSED):
        return ENDED
    return end if end.code == StatusCode.UNAVAILABLE or end == CLOSED else Broken(end)
