"""What can go wrong, as exceptions whose fields decide what to do next."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from grpc import StatusCode

RETRYABLE_CODES = frozenset(
    {
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.UNAVAILABLE,
    }
)
"""With these the same call may succeed later, perhaps with more time. ABORTED is none of them: there
something has changed meanwhile, so the caller has to look again first."""


class ClientError(Exception):
    """Root of every error that this package raises for a call.

    Attributes:
        message: What was wrong, where, what was expected, what to do.
        code: gRPC's status of the call; a call that the client itself refused has the status that the
            server would have given.
        reason: Machine-readable reason, lower_snake_case; empty where none is known.
        retryable: True when the same call may succeed if it is made again.

    Example:
        >>> error = InvalidRequestError("observation has shape (3,)", reason="observation_shape")
        >>> error.code.name, error.reason, error.retryable
        ('INVALID_ARGUMENT', 'observation_shape', False)
    """

    default_code: ClassVar[StatusCode] = StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: StatusCode | None = None,
        reason: str = "",
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.reason = reason
        self.retryable = self.code in RETRYABLE_CODES if retryable is None else retryable

    def copy(self) -> Self:
        """The same error once more: one that several callers raise would mix up their tracebacks."""
        return type(self)(self.message, code=self.code, reason=self.reason, retryable=self.retryable)


class InvalidRequestError(ClientError):
    """The call itself has to be changed: a wrong shape, type, key, mode or mask."""

    default_code = StatusCode.INVALID_ARGUMENT


class PolicyNotFoundError(ClientError):
    """The server has no such policy, or not that version of it."""

    default_code = StatusCode.NOT_FOUND


class RowFailedError(ClientError):
    """The call was fine, but its observation (or this row of a batch) has no action; `reason` says why."""

    default_code = StatusCode.FAILED_PRECONDITION


class UnsafeActionError(RowFailedError):
    """The client's own check is against the server's action, which is therefore not handed out.

    Attributes:
        constraint: The constraint that the action violates, as the deployment calls it; `mask` or
            `action_space` where it is one of these.
        margin: How far it is from what is allowed, negative; None where that cannot be said.
        unit: What the margin is in; empty for plain numbers.
        action: The action that was refused: a plain int for Discrete spaces, an array for all others.
        decision_id: The server's id of the decision, 16 bytes.
    """

    def __init__(  # cap: parameters, the error is its own record  # noqa: PLR0913
        self,
        message: str,
        *,
        code: StatusCode | None = None,
        reason: str = "",
        retryable: bool | None = None,
        constraint: str = "",
        margin: float | None = None,
        unit: str = "",
        action: Any = None,
        decision_id: bytes = b"",
    ) -> None:
        super().__init__(message, code=code, reason=reason, retryable=retryable)
        self.constraint = constraint
        self.margin = margin
        self.unit = unit
        self.action = action
        self.decision_id = decision_id

    def copy(self) -> Self:
        """The same error once more."""
        again = super().copy()
        again.__dict__.update(self.__dict__)
        return again


class ServerUnavailableError(ClientError):
    """No server could be reached, or it cannot answer yet."""

    default_code = StatusCode.UNAVAILABLE


class TlsError(ServerUnavailableError):
    """A server is there, but client and server do not fit in TLS; `reason` is one of `Mistake`."""


class DeadlineExceededError(ClientError):
    """The server did not answer within the call's time."""

    default_code = StatusCode.DEADLINE_EXCEEDED


class OverloadedError(ClientError):
    """The server has more to do than it takes. The client retries that only when told after what time."""

    default_code = StatusCode.RESOURCE_EXHAUSTED


class UnauthenticatedError(ClientError):
    """The server wants to know who calls, and did not learn it: no token, or one that it does not know."""

    default_code = StatusCode.UNAUTHENTICATED


class PermissionDeniedError(ClientError):
    """The server knows who calls, and does not let them do that."""

    default_code = StatusCode.PERMISSION_DENIED


class NotSupportedError(ClientError):
    """The server does not offer this."""

    default_code = StatusCode.UNIMPLEMENTED
