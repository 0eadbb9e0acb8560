"""What can be wrong with a deployment's safety settings; found when they are loaded, never per call."""

from __future__ import annotations

from steersman.bundle.errors import UsageError


class SafetyError(UsageError):
    """The safety settings do not fit the policy's contract, or contradict themselves."""


class ExpressionError(SafetyError):
    """An expression cannot be compiled; `where` names the line and column in it."""
