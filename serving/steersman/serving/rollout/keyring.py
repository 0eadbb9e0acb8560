"""The keys that episode tokens are signed with. Replicas that share a keyring take each other's tokens.

{"current": 2, "keys": {"1": "<64 hex digits>", "2": "<64 hex digits>"}}

New tokens are signed with the current key; tokens of the others are taken as long as they are in the file. To
change keys, add one, restart all replicas, make it current, restart them again, and take the old one out
when the last token of it has expired.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from steersman.bundle.specs import Spec

KEY_BYTES = 32
KeyId = Annotated[int, Field(ge=0, le=255)]
HexKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Keyring(Spec):
    """Keys by id. Secret.

    Attributes:
        current: Id of the key that new tokens are signed with.
        keys: Every key, hex.
    """

    current: KeyId
    keys: Annotated[Mapping[KeyId, HexKey], Field(repr=False)]

    @model_validator(mode="after")
    def _current_is_there(self) -> Keyring:
        if self.current not in self.keys:
            msg = f"the current key {self.current} is not among the keys {sorted(self.keys)}"
            raise ValueError(msg)
        return self

    @classmethod
    def new(cls) -> Keyring:
        """A keyring of one random key."""
        return cls(current=1, keys={1: secrets.token_hex(KEY_BYTES)})

    def secret(self, key_id: int) -> bytes | None:
        """The key; None where it is unknown."""
        found = self.keys.get(key_id)
        return None if found is None else bytes.fromhex(found)
