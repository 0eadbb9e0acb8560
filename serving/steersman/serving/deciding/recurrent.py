"""Recurrent state between arrays and bytes: the tensors of the contract one after the other, row by row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract

Array = NDArray[Any]


def state_bytes(contract: Contract) -> int:
    """Bytes of one row's state."""
    return sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in contract.state)


def unpack_state(contract: Contract, rows: Sequence[bytes]) -> dict[str, Array]:
    """By name, [N, *shape]; zeros for rows whose bytes are empty, which is where episodes begin."""
    zero = bytes(state_bytes(contract))
    flat = np.frombuffer(b"".join(row or zero for row in rows), np.uint8).reshape(len(rows), len(zero))
    state, start = {}, 0
    for spec in contract.state:
        end = start + math.prod(spec.shape) * np.dtype(spec.dtype).itemsize
        part = np.ascontiguousarray(flat[:, start:end])
        state[spec.name] = part.view(spec.dtype).reshape(len(rows), *spec.shape)
        start = end
    return state


def pack_state(contract: Contract, state: Mapping[str, Array]) -> NDArray[np.uint8]:
    """[N, bytes] from arrays by name, each [N, *shape]."""
    parts = [np.ascontiguousarray(state[spec.name]) for spec in contract.state]
    return np.concatenate([part.reshape(len(part), -1).view(np.uint8) for part in parts], axis=1)
