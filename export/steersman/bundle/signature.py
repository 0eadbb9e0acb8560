"""Signatures: who vouches for a bundle. `manifest.sig` beside the manifest, checked anywhere.

A signature is over the bytes of `manifest.json`, which name every other file by its digest: it covers the
whole bundle, and adding one changes nothing else of it, not its digest, not its contract. The file is JSON:

    {"schema_version": 1, "signatures": [
      {"algorithm": "ed25519", "key_id": "...", "public_key": "...", "signature": "..."}]}

- `algorithm`: `ed25519` (RFC 8032, pure: no hash or prefix before it). A reader passes over those that it
  does not know, so that a later algorithm can stand beside this one.
- `public_key`: the signer's, as base64 of its DER SubjectPublicKeyInfo (RFC 8410). It lets anyone see whether
  the signature fits; it is no reason to trust it.
- `key_id`: SHA-256 of that DER, in hex. Keys are trusted by it.
- `signature`: base64.

There may be several, by different keys: one trusted one is enough, but all that can be checked must fit.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError

from steersman.bundle.bundle import Bundle
from steersman.bundle.digest import sha256
from steersman.bundle.errors import BundleCorruptError, BundleError, UsageError
from steersman.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE, Sha256
from steersman.bundle.specs import Spec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519 = "ed25519"
MAX_BYTES = 64 * 1024
"""Largest signature file that is read."""


def _is_base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        msg = "not base64"
        raise ValueError(msg) from None
    return text


Base64 = Annotated[str, Field(min_length=4, max_length=16 * 1024), AfterValidator(_is_base64)]


class SignatureError(BundleError):
    """A signature is not what it should be, or there is none where one is required."""


class Signature(Spec):
    """One signature; the module says what the fields hold."""

    algorithm: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
    key_id: Sha256
    public_key: Base64
    signature: Base64

    def fits(self, manifest: bytes) -> bool | None:
        """Whether it is this key's signature of these bytes; None where the algorithm is not known here."""
        if self.algorithm != ED25519:
            return None
        # Here and below: a server that checks no signature starts faster without the library.
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

        try:
            _ed25519(base64.b64decode(self.public_key)).verify(base64.b64decode(self.signature), manifest)
        except (InvalidSignature, ValueError):
            return False
        return self.key_id == key_id(self.public_key)


class SignatureFile(Spec):
    """`manifest.sig`."""

    schema_version: Literal[1] = 1
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=16)]

    def pack(self) -> bytes:
        """The file's bytes."""
        return self.model_dump_json(indent=2).encode() + b"\n"


class Trust(Spec):
    """Whose signatures count.

    Attributes:
        keys: Public keys, as base64 of their DER.
        required: Whether a bundle without a valid signature by one of them is refused.
    """

    keys: tuple[Base64, ...] = ()
    required: bool = False

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of the trusted keys."""
        return tuple(key_id(key) for key in self.keys)


ASK_NOBODY = Trust()
"""No signature is asked for; those that are there must still fit."""


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """What a bundle's signatures show; all that could be checked fit.

    Attributes:
        signers: Ids of the keys that signed it, trusted or not.
        trusted: Those of them that are trusted.
        unknown: Algorithms of signatures that could not be checked here.
    """

    signers: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def check_signatures(bundle: Bundle, trust: Trust) -> SignatureCheck:
    """Checks the signatures of a bundle, before anything else of it is read.

    Raises:
        SignatureError: A signature is malformed or does not fit the manifest, whoever it is by; or one by a
            trusted key is required and missing.
        BundleCorruptError: The manifest was changed since the bundle was opened.
    """
    file = read_signatures(bundle.path)
    if file is None:
        if trust.required:
            raise _untrusted(bundle, "the bundle is not signed", trust)
        return SignatureCheck()
    manifest = read_manifest(bundle)
    fits = [(signature, signature.fits(manifest)) for signature in file.signatures]
    if broken := [signature.key_id for signature, fit in fits if fit is False]:
        raise SignatureError(
            f"the signature by key {short(broken)} does not fit the manifest",
            where=str(bundle.path / SIGNATURE_FILE),
            hint="One of the two was changed: copy the bundle again, or sign it again.",
        )
    signers = tuple(signature.key_id for signature, fit in fits if fit)
    trusted = tuple(signer for signer in signers if signer in trust.key_ids)
    if trust.required and not trusted:
        raise _untrusted(bundle, f"no trusted key signed the bundle, only {short(signers) or 'none'}", trust)
    return SignatureCheck(signers, trusted, tuple(s.algorithm for s, fit in fits if fit is None))


def read_signatures(folder: Path) -> SignatureFile | None:
    """Reads `manifest.sig` of a bundle's folder; None where there is none.

    Raises:
        SignatureError: It cannot be read, or is malformed.
    """
    path = folder / SIGNATURE_FILE
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SignatureError("too large for signatures", where=str(path), expected=f"{MAX_BYTES} bytes")
        return SignatureFile.model_validate_json(data)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SignatureError(f"the signature cannot be read: {reason}", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise SignatureError(
            f"not a signature file of schema version 1: {place}: {first['msg']}", where=str(path)
        ) from None


def read_manifest(bundle: Bundle) -> bytes:
    """The manifest's bytes, the very ones that `bundle` was made from.

    Raises:
        BundleCorruptError: They were changed since.
    """
    path = bundle.path / MANIFEST_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleCorruptError(f"the manifest cannot be read: {error.strerror}", where=str(path)) from error
    if sha256(data) != bundle.digest:
        raise BundleCorruptError("the manifest was changed just now", where=str(path))
    return data


def read_public_keys(paths: Sequence[Path]) -> tuple[str, ...]:
    """Public keys out of PEM files, as base64 of their DER.

    Raises:
        UsageError: A file cannot be read, or does not hold one ed25519 public key.
    """
    return tuple(_read_public_key(path) for path in paths)


def key_id(public_key: str) -> str:
    """SHA-256 of the public key's DER, which is given as base64."""
    return sha256(base64.b64decode(public_key))


def short(key_ids: Sequence[str]) -> str:
    """Key ids as messages show them: their first 16 digits, 64 of their bits."""
    return ", ".join(f"{one[:16]}…" for one in key_ids)


def _read_public_key(path: Path) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    expected = "one ed25519 public key as PEM, such as steersman keys generate writes"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"it cannot be read: {error.strerror}", where=str(path), expected=expected
        ) from error
    if b"PRIVATE KEY" in data:
        raise UsageError("this is a private key", where=str(path), expected="the public one")
    if data.count(b"-----BEGIN") > 1:
        raise UsageError("there is more than one key here", where=str(path), expected=expected)
    try:
        der = serialization.load_pem_public_key(data).public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        _ed25519(der)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError("not a key that is known here", where=str(path), expected=expected) from None
    return base64.b64encode(der).decode()


def _ed25519(der: bytes) -> Ed25519PublicKey:
    """Reads a key; ValueError where it is another's kind, or no key."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_der_public_key  # noqa: PLC0415

    try:
        key = load_der_public_key(der)
    except UnsupportedAlgorithm as error:
        raise ValueError from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(ED25519)  # noqa: TRY004  it is data that is wrong, not a caller
    return key


def _untrusted(bundle: Bundle, what: str, trust: Trust) -> SignatureError:
    return SignatureError(
        what,
        where=str(bundle.path),
        expected=f"a signature by {short(trust.key_ids)}",
        hint="Sign it with steersman sign, or trust the key that signed it.",
    )
