"""Decision ids: 128 bits each, random, or made from the caller's idempotency key."""

from __future__ import annotations

import hashlib
import os
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from steersman.serving.deciding.call import Call

ID_BYTES = 16
POOL_BYTES = 256 * ID_BYTES
"""Asked of the system at a time: a call of the kernel for every decision would cost more than all else here.
The pool is not shared with other processes, since workers are spawned and never forked."""


class DecisionIds:
    """Makes ids. Of use from any thread.

    Args:
        salt: Secret that the ids of keyed rows are made from.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._lock = Lock()
        self._pool = b""
        self._drawn = 0

    def random(self, rows: int) -> NDArray[np.uint8]:
        """[rows, 16], which may be written to."""
        size = ID_BYTES * rows
        with self._lock:
            if self._drawn + size > len(self._pool):
                self._pool, self._drawn = os.urandom(max(size, POOL_BYTES)), 0
            start = self._drawn
            self._drawn += size
            drawn = self._pool[start : self._drawn]
        return np.frombuffer(bytearray(drawn), np.uint8).reshape(rows, ID_BYTES)

    def keyed(self, call: Call, row: int) -> NDArray[np.uint8]:
        """[16]: the same for the same key, policy and episode, and for no other."""
        episode = call.episode_ids[row] if call.episode_ids else ""
        parts = (call.policy.encode(), episode.encode(), bytes(call.idempotency_keys[row]))
        framed = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
        digest = hashlib.blake2b(framed, digest_size=ID_BYTES, key=self._salt, person=b"decision-id")
        return np.frombuffer(digest.digest(), np.uint8)
