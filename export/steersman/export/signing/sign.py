"""Adding a signature to a bundle that was published, or to one that is about to be."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from steersman.bundle.bundle import Bundle
from steersman.bundle.manifest import SIGNATURE_FILE
from steersman.bundle.repository import Seal
from steersman.bundle.signature import (
    ASK_NOBODY,
    SignatureFile,
    check_signatures,
    read_manifest,
    read_signatures,
)
from steersman.export.errors import ExportError
from steersman.export.signing.keys import SigningKey


def seal_with(key: SigningKey) -> Seal:
    """Signs a manifest as it is published, so that its bundle is never seen unsigned."""
    return lambda manifest: SignatureFile(signatures=(key.sign(manifest),)).pack()


def sign_bundle(bundle: Bundle, key: SigningKey) -> bool:
    """Adds a signature beside those that are there. False where this key's is there already.

    Every file is checked first: what is signed is what was published.

    Raises:
        BundleError: A file was changed, or a signature that is there does not fit.
        ExportError: The signature cannot be written; what was there is as it was.
    """
    check = check_signatures(bundle, ASK_NOBODY)
    bundle.verify()
    if key.key_id in check.signers:
        return False
    file = read_signatures(bundle.path)
    there = file.signatures if file else ()
    new = key.sign(read_manifest(bundle))
    _replace(bundle.path / SIGNATURE_FILE, SignatureFile(signatures=(*there, new)).pack())
    return True


def _replace(path: Path, data: bytes) -> None:
    """Writes a file all at once: a reader finds the old one or the new one."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".signing-", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise ExportError(f"the signature cannot be written: {error.strerror}", where=str(path)) from error
