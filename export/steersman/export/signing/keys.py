"""Key files: a private key that signs, and the public one that others check its signatures with.

Both are PEM, as other tools read and write them: PKCS8, encrypted where a passphrase is given, and
SubjectPublicKeyInfo. Nothing here prints, logs or repeats any part of a private key or a passphrase.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from steersman.bundle.signature import ED25519, Signature, key_id
from steersman.export.errors import ExportError, ExportUsageError

PRIVATE_SUFFIX, PUBLIC_SUFFIX = ".private.pem", ".public.pem"
PassphraseSource = Callable[[], str]
"""Asked for a passphrase when, and only when, a key file has one."""


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """A pair of keys that was written."""

    private: Path
    public: Path
    key_id: str


class SigningKey:
    """A private ed25519 key.

    Attributes:
        public_key: The public key, as base64 of its DER.
        key_id: Its id.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        der = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.public_key = base64.b64encode(der).decode()
        self.key_id = key_id(self.public_key)

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key, from the system's own randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path, passphrase: PassphraseSource) -> SigningKey:
        """Reads a private key.

        Raises:
            ExportUsageError: The file cannot be read, is no ed25519 private key, or the passphrase is wrong.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ExportUsageError(f"it cannot be read: {error.strerror}", where=str(path)) from error
        return cls(_parse(data, path, passphrase))

    def sign(self, manifest: bytes) -> Signature:
        """Its signature of a manifest's bytes."""
        return Signature(
            algorithm=ED25519,
            key_id=self.key_id,
            public_key=self.public_key,
            signature=base64.b64encode(self._key.sign(manifest)).decode(),
        )

    def private_pem(self, passphrase: str | None) -> bytes:
        """PKCS8 as PEM; encrypted where there is a passphrase."""
        encryption = (
            serialization.BestAvailableEncryption(passphrase.encode())
            if passphrase
            else serialization.NoEncryption()
        )
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    def public_pem(self) -> bytes:
        """SubjectPublicKeyInfo as PEM."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def write_new_key(name: Path, passphrase: str | None) -> KeyFiles:
    """Generates a key and writes it to `NAME.private.pem`, for its owner alone, and `NAME.public.pem`.

    Raises:
        ExportUsageError: One of the files is there already, or has no folder; a key is never overwritten.
        ExportError: They cannot be written.
    """
    private, public = (name.with_name(name.name + suffix) for suffix in (PRIVATE_SUFFIX, PUBLIC_SUFFIX))
    for path in (private, public):
        if os.path.lexists(path):
            raise ExportUsageError(
                "there is a file already, and keys are not overwritten",
                where=str(path),
                hint="Choose another name.",
            )
    key = SigningKey.generate()
    _write_new(private, key.private_pem(passphrase), 0o600)
    _write_new(public, key.public_pem(), 0o644)
    return KeyFiles(private, public, key.key_id)


def _parse(data: bytes, path: Path, passphrase: PassphraseSource) -> Ed25519PrivateKey:
    expected = "an ed25519 private key as PEM, such as steersman keys generate writes"
    where = str(path)
    if b"PRIVATE KEY" not in data:
        what = "this is a public key" if b"PUBLIC KEY" in data else "there is no private key here"
        raise ExportUsageError(what, where=where, expected=expected)
    secret = passphrase().encode() if b"ENCRYPTED PRIVATE KEY" in data else None
    try:
        key = serialization.load_pem_private_key(data, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        what = "the passphrase is wrong, or the key is damaged" if secret else "the key is damaged or unknown"
        raise ExportUsageError(what, where=where, expected=expected) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ExportUsageError("this is a key of another algorithm", where=where, expected=expected)
    return key


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Writes a file that was not there; its mode is its own from the first moment."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(number)
    except FileNotFoundError:
        raise ExportUsageError("there is no such folder", where=str(path.parent)) from None
    except OSError as error:
        raise ExportError(f"the key cannot be written: {error.strerror}", where=str(path)) from error
