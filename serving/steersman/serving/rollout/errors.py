"""What can keep a deployment from being changed."""

from __future__ import annotations

from steersman.serving.errors import ServingError


class ChangeRefusedError(ServingError):
    """A change that does not fit what is there now; nothing was changed.

    Args:
        reason: Machine-readable reason, lower_snake_case.
        what: What was wrong.
        where: The field or lane concerned.
        expected: What would have been right.
        hint: What to do next.
    """

    def __init__(
        self,
        reason: str,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.reason = reason
        super().__init__(what, where=where, expected=expected, hint=hint)


class RevisionConflictError(ServingError):
    """Somebody else changed the deployment first."""


class StoreError(ServingError):
    """The store of deployments cannot be used now."""
