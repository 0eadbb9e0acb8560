"""Checking a call against the contract of the policy that it names, and joining calls to a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract, ObservationSpec, Shape
from steersman.serving.call import Call, RawTensor
from steersman.serving.errors import CallError, Code, invalid

Array = NDArray[Any]
MAX_EPISODE_ID_BYTES = 256
MAX_IDEMPOTENCY_KEY_BYTES = 64


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows of one policy: contiguous arrays of the declared types, by graph input name.

    Attributes:
        observations: Each [N, *shape].
        action_mask: [N, mask width]; None allows everything.
        rows: N.
        starts: Rows that begin an episode.
    """

    observations: Mapping[str, Array]
    action_mask: NDArray[np.bool_] | None
    rows: int
    starts: int = 0


def check_call(call: Call, contract: Contract, max_rows: int) -> Columns:
    """The call's rows as columns.

    Raises:
        CallError: A tensor is missing, unknown or malformed, or a per-row field has another length.
    """
    _check_keys(call, contract)
    observations = {
        spec.input_name: _observation(call.observations[spec.key], spec) for spec in contract.observations
    }
    rows = _common_rows(observations)
    if not 1 <= rows <= max_rows:
        raise invalid("row_count", f"the call has {rows} rows; expected 1 to {max_rows}")
    _check_per_row_fields(call, rows)
    if call.mode not in contract.modes:
        raise CallError(
            Code.FAILED_PRECONDITION,
            "mode_not_offered",
            f"policy {call.policy!r} cannot be {call.mode}: it has no distribution",
        )
    return Columns(observations, _mask(call, contract, rows), rows, call.starts)


def join(parts: Sequence[Columns]) -> Columns:
    """The rows of several calls, one after the other."""
    if len(parts) == 1:
        return parts[0]
    names = parts[0].observations
    observations = {name: np.concatenate([part.observations[name] for part in parts]) for name in names}
    rows, starts = sum(part.rows for part in parts), sum(part.starts for part in parts)
    return Columns(observations, _join_masks(parts), rows, starts)


def _join_masks(parts: Sequence[Columns]) -> NDArray[np.bool_] | None:
    width = next((part.action_mask.shape[1] for part in parts if part.action_mask is not None), None)
    if width is None:
        return None
    return np.concatenate(
        [np.ones((p.rows, width), np.bool_) if p.action_mask is None else p.action_mask for p in parts]
    )


def _check_keys(call: Call, contract: Contract) -> None:
    expected = {spec.key for spec in contract.observations}
    found = set(call.observations)
    if found != expected:
        raise invalid("observation_keys", f"observation has {_keys(found)}; expected {_keys(expected)}")


def _keys(keys: set[str]) -> str:
    if not keys:
        return "no tensor"
    return "one plain tensor" if keys == {""} else f"the keys {sorted(keys)[:16]}"


def _observation(tensor: RawTensor, spec: ObservationSpec) -> Array:
    name = f"observation_dict[{spec.key!r}]" if spec.key else "observation"
    return _typed(_shaped(tensor, spec.shape, name), np.dtype(spec.dtype), name, typed=tensor.typed)


def _shaped(tensor: RawTensor, row_shape: Shape, name: str) -> Array:
    size = math.prod(row_shape)
    count = tensor.elements.size
    shape = tensor.shape
    if shape is None or shape == row_shape:
        whole = count == size or (shape is None and not tensor.typed and size and count % size == 0)
        shape = (count // size if whole and size else 1, *row_shape)
    if shape[1:] != row_shape or math.prod(shape) != count:
        given = "no shape" if tensor.shape is None else f"shape {list(tensor.shape)}"
        raise invalid(
            f"{name.split('[', maxsplit=1)[0]}_shape",
            f"{name} has {count} elements and {given}; expected shape [N, {', '.join(map(str, row_shape))}]"
            if row_shape
            else f"{name} has {count} elements and {given}; expected shape [N]",
        )
    return tensor.elements.reshape(shape)


def _typed(array: Array, dtype: np.dtype[Any], name: str, *, typed: bool) -> Array:
    if array.dtype == dtype:
        return array
    if typed:
        raise invalid("dtype", f"{name} has dtype {array.dtype}; expected {dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(cast, array):
        raise invalid("dtype", f"{name} has numbers that are not exact in {dtype}")
    return cast


def _common_rows(observations: Mapping[str, Array]) -> int:
    rows = {len(array) for array in observations.values()}
    if len(rows) != 1:
        raise invalid(
            "row_count", f"the tensors of observation_dict have {sorted(rows)} rows; expected the same number"
        )
    return rows.pop()


def _mask(call: Call, contract: Contract, rows: int) -> NDArray[np.bool_] | None:
    if call.action_mask is None:
        return None
    if not contract.mask_width:
        raise invalid(
            "action_mask_not_applicable", "action_mask is given; expected none, since actions are continuous"
        )
    mask = _typed(
        _shaped(call.action_mask, (contract.mask_width,), "action_mask"),
        np.dtype(np.bool_),
        "action_mask",
        typed=call.action_mask.typed,
    )
    if len(mask) != rows:
        raise invalid(
            "action_mask_shape", f"action_mask has {len(mask)} rows; expected {rows}, as the observation"
        )
    return mask


def _check_per_row_fields(call: Call, rows: int) -> None:
    lengths = {
        "episode_ids": len(call.episode_ids),
        "idempotency_keys": len(call.idempotency_keys),
        **call.per_row,
    }
    for name, length in lengths.items():
        if length not in {0, rows}:
            raise invalid(name, f"{name} has {length} entries; expected none or {rows}, one per row")
    if any(len(name.encode()) > MAX_EPISODE_ID_BYTES for name in call.episode_ids):
        raise invalid(
            "episode_ids", f"an episode id is too long; expected at most {MAX_EPISODE_ID_BYTES} bytes"
        )
    if any(len(key) > MAX_IDEMPOTENCY_KEY_BYTES for key in call.idempotency_keys):
        raise invalid(
            "idempotency_keys",
            f"an idempotency key is too long; expected at most {MAX_IDEMPOTENCY_KEY_BYTES} bytes",
        )
