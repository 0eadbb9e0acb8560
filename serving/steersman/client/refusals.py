"""What a check has against an answer, and what it answers itself."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.client.decision import Action, Array, RowError, Source
from steersman.client.errors import UnsafeActionError


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """Why one row's answer is not handed out, and what is handed out instead.

    Attributes:
        row: The row, counted from 0.
        constraint: The constraint that it violates, as the deployment calls it; `mask` or `action_space`
            where it is one of these.
        reason: Machine-readable reason, lower_snake_case.
        message: The same for people.
        margin: How far it is from what is allowed, negative; None where that cannot be said.
        unit: What the margin is in; empty for plain numbers.
        action: The action in its place, [*shape]; None where there is none.
        source: Who made that.
        member: Which member of the fallback chain.
    """

    row: int
    constraint: str
    reason: str
    message: str
    margin: float | None = None
    unit: str = ""
    action: Array | None = None
    source: Source = Source.NONE
    member: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class LocalAnswers:
    """What a check answers to N rows by itself.

    Attributes:
        actions: [N, *shape], zeros where there is none.
        sources: Who made each; `none` where there is none.
        members: Which member of the fallback chain.
        reasons: Why there is none; empty where there is one.
    """

    actions: Array
    sources: tuple[Source, ...]
    members: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class UnsafeRowError(RowError):
    """Why a row of a batch has no action: the client's own check is against the server's.

    Attributes:
        constraint: The constraint that the action violates; `mask` or `action_space` if it is one of these.
        margin: How far it is from what is allowed, negative; None where that cannot be said.
        unit: What the margin is in; empty for plain numbers.
        action: The action that was refused.
        decision_id: The server's id of the decision.
    """

    constraint: str = ""
    margin: float | None = None
    unit: str = ""
    action: Action | None = None
    decision_id: bytes = b""

    def as_exception(self) -> UnsafeActionError:
        """The same as an exception."""
        return UnsafeActionError(
            self.message,
            reason=self.reason,
            constraint=self.constraint,
            margin=self.margin,
            unit=self.unit,
            action=self.action,
            decision_id=self.decision_id,
        )


def unsafe_row(refusal: Refusal, action: Action, decision_id: bytes) -> UnsafeRowError:
    """The error of a row for whose action there is none in its place."""
    return UnsafeRowError(
        row=refusal.row,
        reason=refusal.reason,
        message=f"{refusal.message}; the action of decision {decision_id.hex()} is not handed out",
        constraint=refusal.constraint,
        margin=refusal.margin,
        unit=refusal.unit,
        action=action,
        decision_id=decision_id,
    )
