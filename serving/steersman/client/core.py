"""The client without input and output: steps that say what to send, and are told what came back.

A call is a generator of effects. A driver performs each effect and sends its reply back in, until the
generator returns the call's result. There is a blocking driver and an asyncio one, and nothing else that
differs between the two clients, so that they cannot drift apart.

Example:
    >>> def ask(caller, request, deadline):
    ...     answer = yield from caller.call("Act", request, deadline)  # yields Send, and Wait before a retry
    ...     return answer.decision_ids
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import StatusCode

from steersman.client.errors import (
    ClientError,
    DeadlineExceededError,
    InvalidRequestError,
    NotSupportedError,
    PolicyNotFoundError,
    RowFailedError,
    ServerUnavailableError,
)

Rpc = Literal["Act", "GetPolicy", "ListPolicies", "ReportOutcome"]

REASON_METADATA_KEY = "steersman-reason"
"""Trailing metadata in which the server says the machine-readable reason of a failed call."""

ROW_METADATA_KEY = "steersman-row"
"""Trailing metadata, "1" when it is the call's only row that failed, not the call."""

RETRYABLE_METADATA_KEY = "steersman-retryable"
"""Trailing metadata, "1" when the same call may succeed if it is made again."""

_MARK = "1"

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


@dataclass(slots=True)
class Send:
    """Effect: make this call. The reply is the answer, or a `Failure`.

    Attributes:
        rpc: Method of `PolicyService`.
        request: Its request.
        timeout: Seconds; None for no limit.
        wait_for_ready: Whether to wait for a connection rather than fail at once without one.
    """

    rpc: Rpc
    request: Message
    timeout: float | None
    wait_for_ready: bool = False


@dataclass(slots=True)
class Wait:
    """Effect: let this many seconds pass. The reply is None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Reply: the call ended with this status.

    Attributes:
        code: gRPC's status.
        details: Its message, for people.
        reason: Machine-readable reason; empty where the server gave none.
        row: Whether it is the call's only row that failed, as the server marks it.
        retryable: Whether the server marked that the same call may succeed if it is made again.
    """

    code: StatusCode
    details: str = ""
    reason: str = ""
    row: bool = False
    retryable: bool = False


Effect = Send | Wait
T = TypeVar("T")
Steps = Generator[Effect, Any, T]
"""A call: yields effects, is sent their replies, returns its result."""


def read_failure(error: grpc.RpcError) -> Failure:
    """What a failed call of grpcio says, blocking or asyncio."""
    call: Any = error
    metadata = dict(call.trailing_metadata() or ())
    return Failure(
        call.code(),
        call.details() or "",
        str(metadata.get(REASON_METADATA_KEY, "")),
        row=metadata.get(ROW_METADATA_KEY) == _MARK,
        retryable=metadata.get(RETRYABLE_METADATA_KEY) == _MARK,
    )


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


@dataclass(slots=True)
class Deadline:
    """When a call must have ended: `limit` seconds after it began; None for never."""

    limit: float | None
    at: float


@dataclass(slots=True)
class Caller:
    """Makes calls with deadlines and retries, and turns failures into errors.

    Attributes:
        target: Address of the server, for errors.
        timeout: Seconds that a call may take unless it says otherwise; None for no limit.
        retries: How many times a call is made again at most, if the server was unavailable.
        ambient: Time and chance.
        closed: Set when the client was closed.
    """

    target: str
    timeout: float | None
    retries: int
    ambient: Ambient = field(default_factory=Ambient)
    closed: bool = False

    def deadline(self, timeout: float | None) -> Deadline:
        """The deadline of a call that begins now.

        Raises:
            ClientError: The client was closed, or the timeout is no time.
        """
        if self.closed:
            raise ClientError(
                "this client is closed; make a new one", code=StatusCode.CANCELLED, reason="client_closed"
            )
        limit = self.timeout if timeout is None else timeout
        if limit is not None and not limit > 0:
            raise InvalidRequestError(f"timeout is {limit}; expected seconds above 0", reason="timeout")
        return Deadline(limit, self.ambient.clock())

    def remaining(self, deadline: Deadline) -> float | None:
        """Seconds left; None for no limit."""
        if deadline.limit is None:
            return None
        return deadline.at + deadline.limit - self.ambient.clock()

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
        attempt = 0
        while True:
            remaining = self.remaining(deadline)
            if remaining is not None and remaining <= 0:
                raise self.error(Failure(StatusCode.DEADLINE_EXCEEDED), rpc, deadline)
            reply = yield Send(rpc, request, remaining)
            if not isinstance(reply, Failure):
                return reply
            pause = self.pause(attempt)
            if not (repeatable and self._is_worth_retrying(reply, attempt, pause, deadline)):
                raise self.error(reply, rpc, deadline, attempts=attempt + 1)
            yield Wait(pause)
            attempt += 1

    def pause(self, attempt: int) -> float:
        """Seconds before the next attempt: exponential, jittered so that callers do not return as one.

        Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015).
        """
        return self.ambient.uniform() * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt, 30))

    def _is_worth_retrying(self, failure: Failure, attempt: int, pause: float, deadline: Deadline) -> bool:
        remaining = self.remaining(deadline)
        in_time = remaining is None or pause < remaining
        return failure.code == StatusCode.UNAVAILABLE and attempt < self.retries and in_time

    def error(self, failure: Failure, rpc: Rpc, deadline: Deadline, *, attempts: int = 1) -> ClientError:
        """The error that a caller sees for a failed call."""
        message = failure.details or failure.code.value[1]
        if failure.row:
            return RowFailedError(
                message, code=failure.code, reason=failure.reason, retryable=failure.retryable
            )
        kind = _ERRORS.get(failure.code, ClientError)
        if failure.code == StatusCode.DEADLINE_EXCEEDED:
            message = (
                f"{self.target} did not answer {rpc} within {deadline.limit:g} s; is it overloaded, or gone?"
            )
        elif failure.code == StatusCode.UNAVAILABLE and not failure.reason:
            again = f" ({attempts} attempts)" if attempts > 1 else ""
            message = f"no server answers at {self.target}: {_core_of(message)}{again}; is it running there?"
        elif failure.code == StatusCode.UNIMPLEMENTED and not failure.reason:
            message = f"{self.target} does not offer {rpc}: {message}"
        return kind(message, code=failure.code, reason=failure.reason, retryable=failure.retryable or None)


_ERRORS: dict[StatusCode, type[ClientError]] = {
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    StatusCode.NOT_FOUND: PolicyNotFoundError,
    StatusCode.OUT_OF_RANGE: InvalidRequestError,
    StatusCode.UNAVAILABLE: ServerUnavailableError,
    StatusCode.UNIMPLEMENTED: NotSupportedError,
}


def _core_of(details: str) -> str:
    """What is of use in gRPC's chain of causes: its last one."""
    return details.rsplit(": ", 1)[-1] if details.startswith("failed to connect") else details
