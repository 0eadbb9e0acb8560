"""Who may call, and what: bearer tokens, known by their hashes, with roles."""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256

from steersman.bundle.manifest import Sha256
from steersman.bundle.specs import Spec


class Role(StrEnum):
    """What a caller may do; each role may do what those before it may."""

    DECIDE = "decide"
    """Ask for decisions, report outcomes, look at policies."""
    OPERATE = "operate"
    """Move deployments."""
    ADMIN = "admin"
    """All of it, and what touches everybody: kill switch, repository."""


_RANK = {role: rank for rank, role in enumerate(Role)}


class Caller(Spec):
    """Somebody who is known by a token.

    Attributes:
        name: Who; shown in logs and the history.
        role: What they may do.
        sha256: Hash of the token, lower-case hex. Tokens are random and long, so that a plain hash suffices.
    """

    name: str
    role: Role
    sha256: Sha256

    def may(self, role: Role) -> bool:
        """Whether the caller may do what needs this role."""
        return _RANK[self.role] >= _RANK[role]


class AccessList(Spec):
    """All who are known."""

    callers: tuple[Caller, ...]

    def find(self, token: bytes) -> Caller | None:
        """The caller with this token. Hashes are compared, so time tells nothing of a token."""
        digest = sha256(token).hexdigest()
        return next((caller for caller in self.callers if caller.sha256 == digest), None)
