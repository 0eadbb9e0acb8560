"""What comes over the wire to the control service, checked: sizes, and who asks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from steersman.serving.errors import invalid
from steersman.serving.security.access import current_caller
from steersman.v1 import control_pb2 as pb

MAX_ACTOR_BYTES = 128
MAX_REASON_BYTES = 1024
MAX_DOCUMENT_BYTES = 64 * 1024
MAX_MESSAGE_BYTES = 128 * 1024
"""Of a whole request."""
DEFAULT_ENTRIES = 50
MAX_ENTRIES = 1000
MAX_DOCUMENTS = 100
"""Entries of one answer where they come with their deployments, which are read before they are counted."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for a change, and how.

    Attributes:
        actor: Who; where callers are authenticated, as what they are known.
        reason: Why.
        expected_revision: The revision that they saw; 0 for whatever it is.
        dry_run: Whether nothing is to be changed.
    """

    actor: str
    reason: str = ""
    expected_revision: int = 0
    dry_run: bool = False


def read_asked(change: pb.Change) -> Asked:
    """Who asks for a change, and how.

    Raises:
        CallError: A text is too long or has control characters, or the revision is negative.
    """
    caller = current_caller()
    actor = caller.name if caller is not None else change.actor or "unknown"
    for name, text, most in (("actor", actor, MAX_ACTOR_BYTES), ("reason", change.reason, MAX_REASON_BYTES)):
        if (size := len(text.encode())) > most:
            raise invalid(f"{name}_too_long", f"{name} has {size} bytes; expected at most {most}")
        if any(not letter.isprintable() for letter in text):
            raise invalid(f"{name}_not_text", f"{name} has control characters; expected one line of text")
    if change.expected_revision < 0:
        message = f"expected_revision is {change.expected_revision}; expected a revision, or 0"
        raise invalid("expected_revision", message)
    return Asked(actor, change.reason, change.expected_revision, change.dry_run)


def read_document(request: pb.ApplyDeploymentRequest) -> str:
    """The document of a deployment.

    Raises:
        CallError: It is empty or too large.
    """
    size = len(request.document.encode())
    if not 0 < size <= MAX_DOCUMENT_BYTES:
        message = f"the document has {size} bytes; expected 1 to {MAX_DOCUMENT_BYTES}"
        raise invalid("document_size", message)
    return request.document


def read_share(request: pb.SetShareRequest) -> float:
    """A share.

    Raises:
        CallError: It is no number from 0 to 1.
    """
    if not (math.isfinite(request.share) and 0 <= request.share <= 1):
        raise invalid("share", f"share is {request.share:g}; expected a number from 0 to 1")
    return request.share


def read_limit(request: pb.GetHistoryRequest) -> int:
    """How many entries the answer may have.

    Raises:
        CallError: The number of an entry is negative.
    """
    if request.before_id < 0:
        raise invalid("before_id", f"before_id is {request.before_id}; expected an entry's id, or 0")
    return min(request.limit or DEFAULT_ENTRIES, MAX_DOCUMENTS if request.with_documents else MAX_ENTRIES)
