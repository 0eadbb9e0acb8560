"""What a call may ask of the world: the effects that its steps yield, and what they are told in reply.

A call is a generator of effects. A driver performs each effect and sends its reply back in, until the
generator returns the call's result. There is a blocking driver and an asyncio one, and nothing else that
differs between the two clients, so that they cannot drift apart.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message

Rpc = Literal["Act", "GetPolicy", "ListPolicies", "ReportOutcome"]
StreamRpc = Literal["ActStream", "Watch"]


class Signal(Protocol):
    """A flag that one call raises and another waits for: `threading.Event` or `asyncio.Event`."""

    def set(self) -> None:
        """Raises it; whoever waits goes on."""

    def clear(self) -> None:
        """Lowers it."""

    def is_set(self) -> bool:
        """Whether it is raised."""
        ...


class Attempt(Protocol):
    """A call under way that nobody waits for in particular."""

    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def reply(self) -> Any:
        """The answer or a `Failure`, once it has ended."""

    def cancel(self) -> None:
        """Ends it; does no harm when it has ended."""


class Outbox(Protocol):
    """The requests of a stream, in the order in which they were put. Never blocks."""

    def put(self, message: Message) -> None:
        """Sends this next."""

    def finish(self) -> None:
        """Nothing more comes."""


@dataclass(slots=True)
class Send:
    """Effect: make this call. The reply is the answer, or a `Failure`.

    Attributes:
        rpc: Method of `PolicyService`.
        request: Its request.
        timeout: Seconds; None for no limit.
        wait_for_ready: Whether to wait for a connection rather than fail at once without one.
        replica: Which replica is asked, counted from 0.
    """

    rpc: Rpc
    request: Message
    timeout: float | None
    wait_for_ready: bool = False
    replica: int = 0


@dataclass(slots=True)
class Wait:
    """Effect: let this many seconds pass. The reply is None."""

    seconds: float


@dataclass(slots=True)
class Park:
    """Effect: wait for the signal, so many seconds at most; None for ever. The reply is whether it is set."""

    signal: Signal
    seconds: float | None


@dataclass(slots=True)
class Start:
    """Effect: begin this call. The reply is an `Attempt`, at once; the signal is set when that has ended."""

    send: Send
    signal: Signal


@dataclass(slots=True)
class Spawn:
    """Effect: perform these steps on their own, beside everything else. The reply is None."""

    steps: Steps[None]


@dataclass(slots=True)
class Open:
    """Effect: open a stream. The reply is what `Next` takes, or a `Failure`.

    Attributes:
        rpc: `ActStream` of `PolicyService`, or `Watch` of `grpc.health.v1.Health`.
        replica: Which replica is asked.
        request: The only request, of `Watch`.
        outbox: The requests, of `ActStream`.
        wait_for_ready: Whether to wait for a connection rather than fail at once without one.
    """

    rpc: StreamRpc
    replica: int
    request: Message | None = None
    outbox: Outbox | None = None
    wait_for_ready: bool = False


@dataclass(slots=True)
class Next:
    """Effect: wait for the stream's next message. The reply is that, a `Failure`, or None at its good end."""

    stream: Any


@dataclass(slots=True)
class Examine:
    """Effect: find out what a replica that closed a connection speaks. The reply is a `Mistake`, or None.

    Attributes:
        replica: Which one.
        seconds: How long that may take at most.
    """

    replica: int
    seconds: float


Effect: TypeAlias = Send | Wait | Park | Start | Spawn | Open | Next | Examine
T = TypeVar("T")
Steps: TypeAlias = Generator[Effect, Any, T]
"""A call: yields effects, is sent their replies, returns its result."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What calls wait and write with; each driver has its own kind.

    Attributes:
        signal: Makes a `Signal`.
        outbox: Makes an `Outbox`.
    """

    signal: Callable[[], Signal]
    outbox: Callable[[], Outbox]


@dataclass(frozen=True, slots=True)
class Ambient:
    """The world around a client: time, sleep and chance. Tests give their own.

    Attributes:
        clock: Seconds, monotonic.
        sleep: Lets seconds pass, for the blocking client.
        async_sleep: The same for the asyncio client.
        uniform: A random number in [0, 1).
        random_bytes: That many random bytes.
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    async_sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[], float] = random.random
    random_bytes: Callable[[int], bytes] = os.urandom
