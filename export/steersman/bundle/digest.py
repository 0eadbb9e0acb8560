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
    return _canonical(json.loads(model.model_dump_json()))  # `model_dump` would leave infinities as numbers


def contract_digest(contract: Contract) -> str:
    """Digest of the specs alone. The ONNX files carry it, so it must not depend on file digests.

    Fields that have their default are left out, so that one which a later release adds does not change the
    digest of a contract that does without it. A default must therefore never change.
    """
    content = json.loads(contract.model_dump_json(exclude_defaults=True))
    content["action"]["kind"] = (
        contract.action.kind
    )  # the default of its class, but it tells the classes apart
    return sha256(_canonical(content))


def _canonical(content: object) -> bytes:
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
