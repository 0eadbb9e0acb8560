"""Noise that makes every sampled decision reproducible: a counter-based generator, vectorised over rows.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3, SC11, section 3.3).
The counter is the 128-bit decision id, as four little-endian words. The key is the secret salt, its second
word mixed with the index of the block of four columns. So a row's noise depends on the salt, its own id and
the column alone, never on its place in a batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import NoiseSpec

ROUNDS = 10
SALT_BYTES = 8
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64).reshape(2, 1, 1)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(ids: NDArray[np.uint8], salt: bytes, blocks: int) -> NDArray[np.uint32]:
    """Random words.

    Args:
        ids: [N, 16], one 128-bit counter per row.
        salt: 8 bytes.
        blocks: Number of blocks of four columns.

    Returns:
        [N, 4 * blocks], uniform over all 32-bit words.
    """
    counter = np.ascontiguousarray(ids).view("<u4").astype(np.uint64)
    even = np.broadcast_to(counter[:, [0, 2]].T[:, :, None], (2, len(ids), blocks))
    odd = np.broadcast_to(counter[:, [1, 3]].T[:, :, None], (2, len(ids), blocks))
    for key in _round_keys(salt, blocks):
        product = even * _MULTIPLIERS
        even = (product >> _HALF)[::-1] ^ odd ^ key
        odd = (product & _LOW)[::-1]
    words = np.stack([even[0], odd[0], even[1], odd[1]], axis=-1)
    return words.reshape(len(ids), 4 * blocks).astype(np.uint32)


def _round_keys(salt: bytes, blocks: int) -> NDArray[np.uint64]:
    """[ROUNDS, 2, 1, blocks]: the key of every round, for every block."""
    first, second = np.frombuffer(salt, "<u4", count=2).astype(np.uint64)
    rounds = np.arange(ROUNDS, dtype=np.uint64)
    keys = np.empty((ROUNDS, 2, 1, blocks), np.uint64)
    keys[:, 0, 0, :] = (first + rounds * np.uint64(_WEYL[0]))[:, None]
    keys[:, 1, 0, :] = (second ^ np.arange(blocks, dtype=np.uint64))[None, :] + (
        rounds * np.uint64(_WEYL[1])
    )[:, None]
    return keys & _LOW


def draw(spec: NoiseSpec, ids: NDArray[np.uint8], salt: bytes) -> NDArray[np.float32]:
    """The graph input `noise`, [N, spec.width], for decisions with these ids ([N, 16])."""
    if spec.law == "uniform":
        return open_uniforms(philox(ids, salt, -(-spec.width // 4)))[:, : spec.width]
    return normals(philox(ids, salt, -(-spec.width // 2)))[:, : spec.width]


def open_uniforms(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Uniforms in the open interval (0, 1): the middle of one of 2^23 equal cells, exact in float32."""
    return ((words >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)


def normals(words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Standard normals by Box and Muller (1958), one from each pair of words, computed in float64.

    Args:
        words: [N, 2 M].

    Returns:
        [N, M].
    """
    unit = (words.astype(np.float64) + 0.5) * 2.0**-32
    radius = np.sqrt(-2.0 * np.log(unit[:, 0::2]))
    return (radius * np.cos(2.0 * np.pi * unit[:, 1::2])).astype(np.float32)
