"""The files of TLS listeners, checked once at the start, where an error can still be told to a person."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from steersman.bundle.errors import UsageError
from steersman.serving.messages import TlsFiles
from steersman.serving.settings import ServerSettings

if TYPE_CHECKING:
    from cryptography import x509

log = logging.getLogger(__name__)


def read_tls(settings: ServerSettings) -> TlsFiles | None:
    """The files that the listeners use; None for plain text.

    Warns of certificates that are not valid now: they may have been made for later, and clients refuse them.

    Raises:
        UsageError: A file cannot be read or is not what its setting says, or the key is another's.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    certificate = _certificates("tls_certificate", settings.tls_certificate)[0]
    _check_pair(certificate, settings.tls_key)
    if settings.tls_client_ca is not None:
        _certificates("tls_client_ca", settings.tls_client_ca)
    return TlsFiles(
        certificate=str(settings.tls_certificate.absolute()),
        key=str(settings.tls_key.absolute()),
        client_ca=str(settings.tls_client_ca.absolute()) if settings.tls_client_ca else "",
    )


def _certificates(setting: str, path: Path) -> list[x509.Certificate]:
    from cryptography import x509  # noqa: PLC0415

    where = f"{setting}: {path}"
    try:
        found = x509.load_pem_x509_certificates(_read(where, path))
    except ValueError:
        raise UsageError("no certificate is in it", where=where, expected="PEM") from None
    now = datetime.now(UTC)
    for certificate in found:
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begins <= now <= ends:
            valid = f"{begins:%Y-%m-%d} to {ends:%Y-%m-%d}"
            subject = certificate.subject.rfc4514_string()
            log.warning(
                "certificate is not valid now", extra={"file": where, "subject": subject, "valid": valid}
            )
    return found


def _check_pair(certificate: x509.Certificate, path: Path) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    where = f"tls_key: {path}"
    try:
        key = load_pem_private_key(_read(where, path), password=None)
    except TypeError:
        raise UsageError("the key is encrypted", where=where, expected="a key without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError("no private key is in it", where=where, expected="PEM") from None
    if key.public_key() != certificate.public_key():
        raise UsageError("not the key of tls_certificate", where=where)


def _read(where: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=where) from None
