"""What a failed call says, whether its status came in trailers or in a stream's answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from grpc import StatusCode

from steersman.client.errors import (
    ClientError,
    DeadlineExceededError,
    InvalidRequestError,
    NotSupportedError,
    OverloadedError,
    PermissionDeniedError,
    PolicyNotFoundError,
    RowFailedError,
    ServerUnavailableError,
    TlsError,
    UnauthenticatedError,
)
from steersman.client.mistakes import Mistake, is_unclear, read_mistake
from steersman.v1 import policy_pb2 as pb

REASON_METADATA_KEY = "steersman-reason"
"""Trailing metadata in which the server says the machine-readable reason of a failed call."""

ROW_METADATA_KEY = "steersman-row"
"""Trailing metadata, "1" when it is the call's only row that failed, not the call."""

RETRYABLE_METADATA_KEY = "steersman-retryable"
"""Trailing metadata, "1" when the same call may succeed if it is made again."""

PUSHBACK_METADATA_KEY = "grpc-retry-pushback-ms"
"""Trailing metadata with the milliseconds to wait before another try; a negative number, or none, forbids one
(gRFC A6, "Pushback")."""

RETRY_AFTER_METADATA_KEY = "steersman-retry-after-ms"
"""The same, from a transport that cannot say it in gRPC's own words."""

_MARK = "1"
_TOO_LARGE = "larger than max"  # gRPC's own words for a message over either side's limit
STATUS: dict[int, StatusCode] = {status.value[0]: status for status in StatusCode}
"""gRPC's status by its number, which is google.rpc.Code's."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Reply: the call ended with this status.

    Attributes:
        code: gRPC's status.
        details: Its message, for people.
        reason: Machine-readable reason; empty where the server gave none.
        row: Whether it is the call's only row that failed, as the server marks it.
        retryable: Whether the server marked that the same call may succeed if it is made again.
        pushback: Seconds that the server wants to be left alone; negative where it wants no retry at all,
            None where it does not say.
        mistake: What is wrong with TLS, if it is that.
    """

    code: StatusCode
    details: str = ""
    reason: str = ""
    row: bool = False
    retryable: bool = False
    pushback: float | None = None
    mistake: Mistake | None = None

    @property
    def too_large(self) -> bool:
        """Whether a message was over a limit of either side; then that is not for want of room."""
        return self.code == StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in self.details

    @property
    def unclear(self) -> bool:
        """Whether a look at the server may tell more: it has ended the connection, and did not say why."""
        nobody = self.code == StatusCode.UNAVAILABLE and not self.reason
        return nobody and self.mistake is None and is_unclear(self.details)

    @property
    def lasts(self) -> bool:
        """Whether the same replica would certainly fail again."""
        return self.mistake is not None and self.mistake.lasts


CLOSED = Failure(StatusCode.CANCELLED, "this client was closed", "client_closed")
"""Reply: the client was closed meanwhile."""

ENDED = Failure(StatusCode.UNAVAILABLE, "the server ended the call")
"""Reply: the server is about to end, and has left the call."""


def read_failure(error: grpc.RpcError) -> Failure:
    """What a failed call of grpcio says, blocking or asyncio.

    CANCELLED without a reason is not ours: who cancels here does not read the status. It is how grpcio's
    server ends, when it stops, the calls that it had not begun and those beyond its grace, so it is the same
    as finding nobody there.
    """
    call: Any = error
    metadata = dict(call.trailing_metadata() or ())
    if call.code() == StatusCode.CANCELLED and REASON_METADATA_KEY not in metadata:
        return ENDED
    code, details = call.code(), call.details() or ""
    reason = str(metadata.get(REASON_METADATA_KEY, ""))
    return Failure(
        code,
        details,
        reason,
        row=metadata.get(ROW_METADATA_KEY) == _MARK,
        retryable=metadata.get(RETRYABLE_METADATA_KEY) == _MARK,
        pushback=_read_pushback(metadata.get(PUSHBACK_METADATA_KEY, metadata.get(RETRY_AFTER_METADATA_KEY))),
        mistake=read_mistake(details) if code == StatusCode.UNAVAILABLE and not reason else None,
    )


def _read_pushback(value: str | bytes | None) -> float | None:
    if value is None:
        return None
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return int(text) / 1e3 if text.isascii() and text.isdigit() else -1.0


def read_status(status: pb.CallStatus) -> Failure:
    """The same, of a stream's answer."""
    return Failure(
        STATUS.get(status.code, StatusCode.UNKNOWN),
        status.message,
        status.reason,
        row=status.row,
        retryable=status.retryable,
        pushback=status.retry_after_nanos / 1e9 if status.retry_after_nanos else None,
    )


def error_of(failure: Failure, target: str, rpc: str, *, limit: float | None, attempts: int) -> ClientError:
    """The error that a caller sees.

    Args:
        failure: What the last attempt ended with.
        target: Address of the server or servers.
        rpc: Method that was called.
        limit: Seconds that the call was given.
        attempts: How often it was tried.
    """
    message = failure.details or failure.code.value[1]
    if failure.row:
        return RowFailedError(message, code=failure.code, reason=failure.reason, retryable=failure.retryable)
    if failure.mistake is not None:
        message = f"{failure.mistake.what(target)}; {failure.mistake.remedy}"
        return TlsError(message, reason=failure.mistake.value, retryable=False)
    if failure.too_large:
        message = f"{message}; send fewer rows at once"
        return InvalidRequestError(message, code=failure.code, reason="message_size", retryable=False)
    if failure.code == StatusCode.DEADLINE_EXCEEDED:
        within = "in time" if limit is None else f"within {limit:g} s"
        message = f"{target} did not answer {rpc} {within}; is it overloaded, or gone?"
    elif failure.code == StatusCode.UNAVAILABLE and not failure.reason:
        again = f" ({attempts} attempts)" if attempts > 1 else ""
        message = f"no server answers at {target}: {_core_of(message)}{again}; is it running there?"
    elif failure.code == StatusCode.UNAUTHENTICATED:
        message = f"{message}; give token=, or is the one given revoked, or another server's?"
    elif failure.code == StatusCode.UNIMPLEMENTED and not failure.reason:
        message = f"{target} does not offer {rpc}: {message}"
    kind = _ERRORS.get(failure.code, ClientError)
    return kind(message, code=failure.code, reason=failure.reason, retryable=failure.retryable or None)


_ERRORS: dict[StatusCode, type[ClientError]] = {
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    StatusCode.NOT_FOUND: PolicyNotFoundError,
    StatusCode.OUT_OF_RANGE: InvalidRequestError,
    StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    StatusCode.UNAVAILABLE: ServerUnavailableError,
    StatusCode.UNIMPLEMENTED: NotSupportedError,
}


def _core_of(details: str) -> str:
    """What is of use in gRPC's chain of causes: its last one."""
    return details.rsplit(": ", 1)[-1] if details.startswith("failed to connect") else details
