"""Who may call, and what: bearer tokens, known by their hashes, or client certificates, with roles."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Annotated

from pydantic import StringConstraints, model_validator

from steersman.bundle.manifest import Sha256
from steersman.bundle.specs import Spec

TOKEN_PREFIX = "stm_"  # noqa: S105  what tokens begin with, so that scanners for leaked secrets find them
TOKEN_BYTES = 32
CallerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@/ -]{0,127}$")]
CertificateName = Annotated[str, StringConstraints(min_length=1, max_length=255)]


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
    """Somebody who is known by a token, or by a certificate.

    Attributes:
        name: Who; shown in logs and the history.
        role: What they may do.
        sha256: Hash of the token, lower-case hex. Tokens are random and long, so that a plain hash suffices.
        certificate: Instead of a token: a name in the caller's certificate, its common name or a subject
            alternative name, where mTLS has checked that certificate.
    """

    name: CallerName
    role: Role
    sha256: Sha256 | None = None
    certificate: CertificateName | None = None

    @model_validator(mode="after")
    def _one_proof(self) -> Caller:
        if (self.sha256 is None) == (self.certificate is None):
            msg = f"the caller {self.name!r} must have either sha256 or certificate"
            raise ValueError(msg)
        return self

    def may(self, role: Role) -> bool:
        """Whether the caller may do what needs this role."""
        return _RANK[self.role] >= _RANK[role]


class AccessList(Spec):
    """All who are known.

    Attributes:
        callers: Each with a name, a token and a certificate of its own.
    """

    callers: tuple[Caller, ...] = ()

    @model_validator(mode="after")
    def _unambiguous(self) -> AccessList:
        for field in ("name", "sha256", "certificate"):
            for repeated in _repeated(getattr(caller, field) for caller in self.callers):
                msg = f"two callers have the {field} {repeated!r}"
                raise ValueError(msg)
        return self

    def find(self, token: bytes) -> Caller | None:
        """The caller with this token. Hashes are compared, so time tells nothing of a token.

        Takes under a microsecond: no token has to be remembered to be quick.
        """
        return self._by_hash.get(sha256(token).hexdigest())

    def find_certificate(self, names: Iterable[str]) -> Caller | None:
        """The caller whose certificate bears one of these names; None where they are of different callers."""
        found = {caller.name: caller for name in names if (caller := self._by_certificate.get(name))}
        return next(iter(found.values())) if len(found) == 1 else None

    @property
    def knows_certificates(self) -> bool:
        """Whether anybody is known by a certificate."""
        return bool(self._by_certificate)

    @cached_property
    def _by_hash(self) -> dict[str, Caller]:
        return {caller.sha256: caller for caller in self.callers if caller.sha256}

    @cached_property
    def _by_certificate(self) -> dict[str, Caller]:
        return {caller.certificate: caller for caller in self.callers if caller.certificate}


def _repeated(values: Iterable[str | None]) -> Iterator[str]:
    seen: set[str] = set()
    for value in values:
        if value is not None and value in seen:
            yield value
        seen.add(value or "")


def new_token() -> str:
    """A token that nobody has: `stm_` and 43 characters, 256 random bits. Shown once, never kept."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> str:
    """What is kept of a token."""
    return sha256(token.encode()).hexdigest()


_BEARER = re.compile(r"bearer +([\x21-\x7e]+)", re.IGNORECASE)


def bearer_token(authorization: str) -> bytes | None:
    """The token in an `authorization` header (RFC 6750, 2.1); None where it has none."""
    match = _BEARER.fullmatch(authorization)
    return match[1].encode() if match else None


_caller: ContextVar[Caller | None] = ContextVar("steersman_caller", default=None)


def current_caller() -> Caller | None:
    """Whose call is being answered; None where callers are not asked who they are."""
    return _caller.get()


def remember_caller(caller: Caller) -> None:
    """Makes it the caller of the call that this task answers."""
    _caller.set(caller)
