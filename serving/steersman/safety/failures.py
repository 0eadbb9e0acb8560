"""What becomes of a member of a fallback chain that cannot be used: it is told, and the chain goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

FailureKind = Literal["raised", "malformed", "late", "busy"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MemberFailure:
    """A member of a chain could not be used for a batch of rows, and the chain went on.

    Attributes:
        member: The member, such as `fallback[1].entry_point`.
        kind: `raised`: it raised; `malformed`: what it gave is not actions of the space; `late`: it did not
            answer in time; `busy`: the call before has not ended yet.
        detail: More, for people.
    """

    member: str
    kind: FailureKind
    detail: str


Tell = Callable[[MemberFailure], None]


def log_failure(failure: MemberFailure) -> None:
    """Logs a failure."""
    said = {"member": failure.member, "kind": failure.kind, "detail": failure.detail}
    log.warning("a member of the fallback chain could not be used", extra=said)
