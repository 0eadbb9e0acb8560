"""How commands connect: plain text or TLS, from which files, and what may be wrong with that."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steersman.bundle.errors import SteersmanError, UsageError

if TYPE_CHECKING:
    import grpc

TLS_HINTS: Mapping[str, str] = {
    "tls_wanted": "Name the authority of its certificate with --ca or STEERSMAN_CA.",
    "tls_not_spoken": "Leave out --ca and STEERSMAN_CA; or is it another port?",
    "tls_server_untrusted": "Name with --ca the authority that issued it; a self-signed one is its own.",
    "tls_server_name": "Call the server by a name that its certificate has.",
    "tls_server_expired": "Renew it at the server, or set the clock of this host.",
    "tls_client_certificate_missing": "Name a certificate and its key with --certificate and --key.",
    "tls_client_certificate_refused": "Is --certificate of an authority in the server's tls_client_ca, and "
    "not expired?",
    "tls_files": "Are --ca, --certificate and --key PEM, and certificate and key one pair?",
}
"""What to do, in the words of the commands, by the reason of a `TlsError`."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """The files that a command was given for TLS; without any it speaks plain text.

    Attributes:
        ca: Authorities of the server's certificate.
        certificate: The command's own, for mTLS.
        key: Key of that.

    Raises:
        UsageError: A file cannot be read, or one of certificate and key is missing.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None

    @classmethod
    def read(cls, ca: Path | None, certificate: Path | None, key: Path | None) -> TlsOptions:
        """What is in the files."""
        if (certificate is None) != (key is None):
            missing = "--certificate" if certificate is None else "--key"
            raise UsageError("missing", where=missing, expected="both --certificate and --key, or neither")
        given = {"--ca": ca, "--certificate": certificate, "--key": key}
        return cls(*(None if path is None else read(path, option) for option, path in given.items()))

    @property
    def given(self) -> bool:
        """Whether TLS is spoken."""
        return self.ca is not None or self.certificate is not None

    def channel(self, target: str, options: Sequence[tuple[str, Any]] = ()) -> grpc.Channel:
        """A connection to a server."""
        import grpc

        if not self.given:
            return grpc.insecure_channel(target, options)
        credentials = grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)
        return grpc.secure_channel(target, credentials, options)

    def trouble(self, error: Any, target: str) -> SteersmanError | None:
        """What is wrong with TLS where gRPC says UNAVAILABLE; None where it is not that.

        Args:
            error: The call's `grpc.RpcError`.
            target: Address of the server.
        """
        from steersman.client.probing import Speaks, find_mistake

        speaks = Speaks(tls=self.given, certificate=self.certificate is not None)
        mistake = find_mistake(error.details() or "", target, speaks)
        return (
            None if mistake is None else SteersmanError(mistake.what(target), hint=TLS_HINTS[mistake.value])
        )


def quiet_grpc() -> None:
    """Keeps gRPC's core from writing to standard error what the command says in its own words.

    To be called before grpc is imported; who sets GRPC_VERBOSITY gets what that says.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def read(path: Path, option: str) -> bytes:
    """A file's content.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=f"{option} {path}") from None
