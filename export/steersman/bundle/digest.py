"""Digests: SHA-256 of bytes and of canonical JSON."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel

from steersman.bundle.specs import Contract


def sha256(data: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(model: BaseModel) -> bytes:
    """The same bytes for the same content: sorted keys, no spaces, UTF-8, infinities as strings."""
    return json.dumps(
        json.loads(model.model_dump_json()),  # `model_dump` would leave infinities as numbers
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    ).encode()


def contract_digest(contract: Contract) -> str:
    """Digest of the specs alone. The ONNX files carry it, so it must not depend on file digests."""
    return sha256(canonical_json(contract))
