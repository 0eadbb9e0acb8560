"""Errors of the server. Transports map `Code` to their own status; nothing here knows of gRPC."""

from __future__ import annotations

from enum import StrEnum

from steersman.bundle.errors import SteersmanError

MAX_MESSAGE = 500
"""Characters of a message that a caller gets."""


class ServingError(SteersmanError):
    """The server cannot start or go on."""


class Code(StrEnum):
    """What kind of failure a call met."""

    INVALID_ARGUMENT = "invalid_argument"
    """The caller must change the call."""
    NOT_FOUND = "not_found"
    """No such policy or version."""
    FAILED_PRECONDITION = "failed_precondition"
    """The call is well-formed, but no permitted answer to it exists."""
    UNIMPLEMENTED = "unimplemented"
    """This server does not offer that."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    """The caller's deadline has passed."""
    UNAVAILABLE = "unavailable"
    """Not now; try again."""
    INTERNAL = "internal"
    """A defect of the server; the log has the details."""
    RESOURCE_EXHAUSTED = "resource_exhausted"
    """More is waiting, or was sent, than the server takes."""
    CANCELLED = "cancelled"
    """The caller no longer waits."""
    UNAUTHENTICATED = "unauthenticated"
    """The caller did not say who it is, or is not known."""
    PERMISSION_DENIED = "permission_denied"
    """The caller may not do that."""
    ABORTED = "aborted"
    """Something else was changed meanwhile; look again."""
    ALREADY_EXISTS = "already_exists"
    """It is there already."""


class CallError(Exception):
    """A whole call failed, or its only row did.

    Args:
        code: What kind of failure.
        reason: Machine-readable reason, lower_snake_case.
        message: What was wrong, where, what was expected; safe to show to a caller. Clipped, for parts of
            the call are quoted in it, and statuses travel in headers of limited size.
        row: True when it is the only row that failed, not the call.
        retryable: True when the same call may succeed if it is sent again.
        retry_after_s: How long to wait before that, seconds; 0 where the server does not say.
    """

    def __init__(
        self,
        code: Code,
        reason: str,
        message: str,
        *,
        row: bool = False,
        retryable: bool = False,
        retry_after_s: float = 0.0,
    ) -> None:
        self.code = code
        self.reason = reason
        self.message = message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 1]}…"
        self.row = row
        self.retryable = retryable or code is Code.UNAVAILABLE
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


def invalid(reason: str, message: str) -> CallError:
    """A `CallError` for a malformed call."""
    return CallError(Code.INVALID_ARGUMENT, reason, message)
