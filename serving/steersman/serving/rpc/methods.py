"""What a server offers, free of transports: methods that take a request's bytes and give those of an answer.

A transport knows paths, bytes and statuses; a method knows its messages. Every failure is a `CallError`,
which the transport turns into a status in its one way, so that all of them answer alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from steersman.serving.deciding.call import Call
from steersman.serving.decision import Decisions
from steersman.serving.errors import CallError, Code, invalid

Outcome = Decisions | CallError
Metadata = Sequence[tuple[str, str | bytes]]
M = TypeVar("M", bound=Message)
FOREVER_S = 1e9
"""A deadline further away than this is none."""


class RequestDetails(NamedTuple):
    """What a transport knows of a request beside its bytes.

    Attributes:
        metadata: Keys, lower-case, and values; bytes where the key ends in `-bin`.
        peer: Who calls, as the transport names it.
        time_remaining_s: Seconds until the caller stops waiting; None for never.
        arrived_ns: When the transport had the request, `time.perf_counter_ns`.
    """

    metadata: Metadata = ()
    peer: str = ""
    time_remaining_s: float | None = None
    arrived_ns: int = 0

    @property
    def deadline_ns(self) -> int:
        """When the caller stops waiting, on the clock of `arrived_ns`; 0 for never."""
        if self.time_remaining_s is None or self.time_remaining_s > FOREVER_S:
            return 0
        return (self.arrived_ns or perf_counter_ns()) + max(int(self.time_remaining_s * 1e9), 1)


class Form(Protocol):
    """What requests have in common that differ in nothing but their numbers."""

    @property
    def policy(self) -> str:
        """Name of the policy that they ask."""
        ...

    def key(self, payload: bytes) -> bytes:
        """What two requests must differ in to be read as one call; empty where nothing."""
        ...

    def read(self, payloads: Sequence[bytes], arrived_ns: int, deadline_ns: int = 0) -> Call:
        """Requests of this form as one call, with a row for each in their order."""
        ...


class FormBook(Protocol):
    """The forms of the requests that came lately. Of use from one thread."""

    def turn(self) -> None:
        """Forgets what holds no longer; to be called before requests are looked up."""
        ...

    def find(self, payload: bytes) -> Form | None:
        """The form of a request, if it has a known one."""
        ...

    def learn(self, payload: bytes, call: Call) -> None:
        """Remembers the form of a request that was parsed, if it has one."""
        ...


@dataclass(frozen=True, slots=True)
class Together:
    """How requests of a method are read and answered many at a time.

    Attributes:
        book: Begins a book of forms.
        encode: From the outcome of a call that so many requests made, a row each, to the bytes of the answer
            or the failure of each. The very same that each would get alone.
    """

    book: Callable[[], FormBook]
    encode: Callable[[Outcome, int], Sequence[bytes | CallError]]


@dataclass(frozen=True, slots=True)
class DecisionMethod:
    """A unary method whose answer is a decision of the engine.

    Attributes:
        path: Full path, `/package.Service/Method`.
        name: What its calls are counted as, one of `counting.METHODS`.
        decode: From bytes to the request, which `encode` gets back, and its call. Raises `CallError`.
        encode: From the call's outcome to the bytes of the answer, or to the failure, which the outcome
            itself may be.
        together: How requests are read and answered many at a time; None where each is by itself.
    """

    path: str
    name: str
    decode: Callable[[bytes, RequestDetails], tuple[Any, Call]]
    encode: Callable[[Outcome, Any], bytes | CallError]
    together: Together | None = None


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """A unary method that is answered at once, on the thread that serves calls.

    Attributes:
        path: Full path.
        name: What its calls are counted as.
        answer: From the bytes of the request to those of the answer. Raises `CallError`.
    """

    path: str
    name: str
    answer: Callable[[bytes, RequestDetails], bytes]


class StreamSession(Protocol):
    """The logic of one stream for as long as it lives. Called from one thread at a time."""

    def read(self, payload: bytes) -> tuple[Any, Call | CallError]:
        """The next request, which `answer` gets back, and its call, or why there is none."""
        ...

    def answer(self, request: Any, outcome: Outcome) -> tuple[bytes, CallError | None]:
        """The bytes of the answer, and the failure that it tells of, if it does."""
        ...


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """A bidirectional stream of calls, answered one by one as they are ready.

    Attributes:
        path: Full path.
        name: What its calls are counted as, message by message.
        open: Begins the logic of a new stream.
        ordered: Whether answers go out in the order of their requests.
    """

    path: str
    name: str
    open: Callable[[RequestDetails], StreamSession]
    ordered: bool = False


Method = DecisionMethod | UnaryMethod | StreamMethod


def parse(message: type[M], payload: bytes) -> M:
    """The message.

    Raises:
        CallError: The bytes are not such a message.
    """
    try:
        return message.FromString(payload)
    except DecodeError:
        name = message.DESCRIPTOR.name
        raise invalid(
            "malformed_message", f"the request is not a {name}; expected protocol buffers of that type"
        ) from None


def defect() -> CallError:
    """What a caller learns of a defect of the server."""
    return CallError(Code.INTERNAL, "internal", "internal error; the server's log has the details")
