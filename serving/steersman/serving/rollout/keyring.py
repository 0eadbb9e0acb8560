"""The keys that episode tokens are signed with. Replicas that share a keyring take each other's tokens.

{"current": 2, "keys": {"1": "<64 hex digits>", "2": "<64 hex digits>"}, "salt": "<64 hex digits>"}

New tokens are signed with the current key; tokens of the others are taken as long as they are in the file. To
change keys, add one, restart all replicas, make it current, restart them again, and take the old one out
when the last token of it has expired. The salt, which noise and the ids of keyed calls are made from, is none
of the keys and stays when they change: with another one, a call that is repeated gets another decision.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from steersman.bundle.specs import Spec

KEY_BYTES = SALT_BYTES = 32
KeyId = Annotated[int, Field(ge=0, le=255)]
HexSalt = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
HexKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Keyring(Spec):
    """Keys by id. Secret.

    Attributes:
        current: Id of the key that new tokens are signed with.
        keys: Every key, hex.
        salt: What noise and keyed ids are made from, hex, for the replicas to share; empty, as in keyrings of
            earlier releases, where each has the one of its own state folder.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    current: KeyId
    keys: Annotated[Mapping[KeyId, HexKey], Field(repr=False)]
    salt: Annotated[HexSalt, Field(repr=False)] = ""

    @model_validator(mode="after")
    def _current_is_there(self) -> Keyring:
        if self.current not in self.keys:
            msg = f"the current key {self.current} is not among the keys {sorted(self.keys)}"
            raise ValueError(msg)
        return self

    @classmethod
    def new(cls) -> Keyring:
        """A keyring of one random key, and a random salt."""
        key, salt = secrets.token_hex(KEY_BYTES), secrets.token_hex(SALT_BYTES)
        return cls(current=1, keys={1: key}, salt=salt)
