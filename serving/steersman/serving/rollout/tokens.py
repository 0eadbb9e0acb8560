"""Episode tokens: what an episode has to remember between its steps, kept by its caller.

A token is opaque to callers and signed, not encrypted: a host needs no memory of an episode, and any replica
with the same keyring can go on with it. Layout, little-endian, format 1:

    u8   format            1
    u8   key               id of the key that signed it
    u16  reserved          0
    u32  lane              first 4 bytes of SHA-256 of the lane's name
    16 B episode           first 16 bytes of SHA-256 of policy and episode id, each framed by its u32 length
    16 B bundle            first 16 bytes of the digest of the version's manifest
    i64  step              steps decided so far
    i64  expires           Unix seconds
    i64  decided           Unix nanoseconds of the last decision
    f64  share             probability with which the episode was assigned to its lane
    u32  action, state, extra     bytes of the three parts that follow
         action            the last action, in the action's type
         state             the recurrent state, the tensors of the contract one after the other
         extra             what safety remembers, see `steersman.safety.memory`
    16 B tag               first 16 bytes of HMAC-SHA256 over all before it

Truncated to 128 bits a tag is as strong as needed: RFC 2104, section 5. An older token of the same episode is
taken, too: a step can be repeated, and who replays steps only fools the own episode.
"""

from __future__ import annotations

import hmac
import struct
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from steersman.serving.decision import Reason
from steersman.serving.rollout.keyring import Keyring

FORMAT = 1
HASH_BYTES = 16
TAG_BYTES = 16
_HEADER = struct.Struct("<BBHI16s16sqqqdIII")
_LENGTH = struct.Struct("<I")
_LEAST = _HEADER.size + TAG_BYTES


class EpisodeToken(NamedTuple):
    """What a token says.

    Attributes:
        lane: Hash of the lane's name, see `lane_hash`.
        episode: Hash of policy and episode id, see `episode_hash`.
        bundle: First 16 bytes of the digest of the version's manifest.
        step: Steps decided so far.
        expires: Unix seconds.
        decided: Unix nanoseconds of the last decision.
        share: Probability with which the episode was assigned to its lane.
        action: The last action's bytes; empty where it had none.
        state: The recurrent state's bytes; empty where there is none.
        extra: What safety remembers; empty where it remembers nothing.
    """

    lane: int
    episode: bytes
    bundle: bytes
    step: int
    expires: int
    decided: int
    share: float
    action: bytes = b""
    state: bytes = b""
    extra: bytes = b""


class TokenCodec:
    """Signs tokens and reads them.

    Args:
        keyring: The keys.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._current = keyring.current
        self._keys = {
            number: hmac.new(bytes.fromhex(key), digestmod=sha256) for number, key in keyring.keys.items()
        }

    def sign(self, token: EpisodeToken) -> bytes:
        """The token as callers get it."""
        *fields, action, state, extra = token
        header = _HEADER.pack(FORMAT, self._current, 0, *fields, len(action), len(state), len(extra))
        body = b"".join((header, action, state, extra))
        return body + _tag(self._keys[self._current], body)

    def read(self, data: bytes, *, now_s: float) -> EpisodeToken | Reason:
        """What the token says, or why it is not taken: forged or malformed, or expired.

        Args:
            data: The token.
            now_s: Unix seconds.
        """
        if len(data) < _LEAST or data[0] != FORMAT:
            return Reason.EPISODE_TOKEN_INVALID
        body, tag = data[:-TAG_BYTES], data[-TAG_BYTES:]
        key = self._keys.get(body[1])
        if key is None or not hmac.compare_digest(tag, _tag(key, body)):
            return Reason.EPISODE_TOKEN_INVALID
        _, _, _, lane, episode, bundle, step, expires, decided, share, *sizes = _HEADER.unpack_from(body)
        actions, states, extras = sizes
        first, second = _HEADER.size + actions, _HEADER.size + actions + states
        if len(body) != second + extras:
            return Reason.EPISODE_TOKEN_INVALID
        parts = (body[_HEADER.size : first], body[first:second], body[second:])
        token = EpisodeToken(lane, episode, bundle, step, expires, decided, share, *parts)
        return token if token.expires >= now_s else Reason.EPISODE_TOKEN_EXPIRED


def _tag(key: hmac.HMAC, body: bytes) -> bytes:
    keyed = key.copy()  # the key is hashed once for all tokens, which halves the cost of one
    keyed.update(body)
    return keyed.digest()[:TAG_BYTES]


def episode_hash(policy: str, episode_id: str) -> bytes:
    """What binds a token to its episode: 16 bytes."""
    name = episode_id.encode()
    return sha256(_framed(policy) + _LENGTH.pack(len(name)) + name).digest()[:HASH_BYTES]


@lru_cache(maxsize=1024)
def _framed(policy: str) -> bytes:
    name = policy.encode()
    return _LENGTH.pack(len(name)) + name


def lane_hash(lane: str) -> int:
    """A lane's name in a token."""
    return int.from_bytes(sha256(lane.encode()).digest()[:4], "little")
