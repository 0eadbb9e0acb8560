"""Whose signatures the server asks for, as its settings say."""

from __future__ import annotations

from steersman.bundle.errors import UsageError
from steersman.bundle.signature import Trust, read_public_keys
from steersman.serving.settings import ServerSettings


def read_trust(settings: ServerSettings) -> Trust:
    """Reads the trusted keys, once: workers get the keys themselves, so that all judge alike.

    Raises:
        UsageError: A key file is wrong, or a signature is required and no key is trusted. A list of keys
            that has become empty by mistake must not open the server to everything.
    """
    required = settings.require_signature
    if required and not settings.trusted_keys:
        raise UsageError(
            "a signature is required, but no key is trusted",
            where="require_signature",
            hint="Name the files of public keys in trusted_keys.",
        )
    keys = read_public_keys(settings.trusted_keys)
    return Trust(keys=keys, required=bool(keys) if required is None else required)
