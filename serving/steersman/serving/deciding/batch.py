"""Checking a call against the contract of the policy that it names, and joining calls to a batch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract, ObservationSpec, Shape
from steersman.serving.deciding.call import Call, RawTensor
from steersman.serving.errors import CallError, Code, invalid

Array = NDArray[Any]
ASSIGNED_BY: tuple[str, ...] = ("none", "request", "episode", "token", "cut")
"""How a row found its lane: it names no episode; its call asked for a version; its episode's id; its token;
its token's version is gone. Positions are codes in the counters."""
MAX_EPISODE_ID_BYTES = 256
MAX_IDEMPOTENCY_KEY_BYTES = 64
MAX_STEPS = 2**53
"""Steps of an episode; tokens and counts of them stay exact far beyond."""


class EpisodeRow(NamedTuple):
    """Where a row's episode is.

    Attributes:
        episode: Hash of policy and episode id; empty where no token is wanted.
        step: Steps decided before this one.
        share: Probability with which the episode was assigned to its lane.
        by: How the row found its lane, a code of `ASSIGNED_BY`.
        state: The recurrent state's bytes; empty where the episode begins.
        reason: Code of the `Reason` that its caller should know, 0 for none.
        failed: Whether the row fails for that reason.
        action: The bytes of the step before's action; empty where that is not known.
        memory: What safety remembers, as the token carries it; likewise.
    """

    episode: bytes = b""
    step: int = 0
    share: float = 1.0
    by: int = 0
    state: bytes = b""
    reason: int = 0
    failed: bool = False
    action: bytes = b""
    memory: bytes = b""


@dataclass(slots=True)
class Columns:
    """Rows of one policy: contiguous arrays of the declared types, by graph input name.

    Attributes:
        observations: Each [N, *shape].
        action_mask: [N, mask width]; None allows everything.
        rows: N.
        starts: [N], rows that begin an episode; None where none does.
        episodes: [N]; None where no row has to do with one.
        observed_ns: [N] when each observation was made, Unix nanoseconds, 0 for unknown; None if all are.
        assigned: How all rows found their lane, where `episodes` does not say it.
    """

    observations: Mapping[str, Array]
    action_mask: NDArray[np.bool_] | None
    rows: int
    starts: NDArray[np.bool_] | None = None
    episodes: list[EpisodeRow] | None = None
    observed_ns: NDArray[np.int64] | None = None
    assigned: int = 0

    def take(self, rows: NDArray[np.intp]) -> Columns:
        """Some of the rows."""
        return Columns(
            observations={name: array[rows] for name, array in self.observations.items()},
            action_mask=None if self.action_mask is None else self.action_mask[rows],
            rows=len(rows),
            starts=None if self.starts is None else self.starts[rows],
            episodes=None if self.episodes is None else [self.episodes[row] for row in rows],
            observed_ns=None if self.observed_ns is None else self.observed_ns[rows],
            assigned=self.assigned,
        )


@dataclass(frozen=True, slots=True)
class _Expected:
    """A tensor as the contract declares it; `name` is what a caller calls it."""

    key: str
    input_name: str
    name: str
    shape: Shape
    size: int
    dtype: np.dtype[Any]


class CallChecker:
    """Checks calls against one contract. Everything that does not depend on the call is worked out once.

    Args:
        contract: The contract of the policy.
    """

    def __init__(self, contract: Contract) -> None:
        self._expected = tuple(map(_expected, contract.observations))
        self._keys = frozenset(expected.key for expected in self._expected)
        self._modes = contract.modes
        width = contract.mask_width
        self._mask = _Expected("", "", "action_mask", (width,), width, np.dtype(np.bool_)) if width else None

    def check(self, call: Call, max_rows: int) -> Columns:
        """The call's rows as columns.

        Raises:
            CallError: A tensor is missing, unknown or malformed, or a per-row field has another length.
        """
        if call.observations.keys() != self._keys:
            message = f"observation has {_listed(call.observations.keys())}; expected {_listed(self._keys)}"
            raise invalid("observation_keys", message)
        observations = {e.input_name: _read(call.observations[e.key], e) for e in self._expected}
        rows = _common_rows(observations)
        if not 1 <= rows <= max_rows:
            raise invalid("row_count", f"the call has {rows} rows; expected 1 to {max_rows}")
        _check_per_row_fields(call, rows)
        if call.mode not in self._modes:
            message = f"policy {call.policy!r} has no distribution; expected mode greedy"
            raise CallError(Code.FAILED_PRECONDITION, "mode_not_offered", message)
        mask = None if call.action_mask is None else self._read_mask(call.action_mask, rows)
        return Columns(observations, mask, rows, _starts(call), observed_ns=_observed(call))

    def _read_mask(self, given: RawTensor, rows: int) -> NDArray[np.bool_]:
        if self._mask is None:
            message = "action_mask is given; expected none, since actions are continuous"
            raise invalid("action_mask_not_applicable", message)
        mask = _read(given, self._mask)
        if rows > 1 and len(mask) == 1 and given.shape in {None, self._mask.shape}:
            return np.repeat(mask, rows, axis=0)
        if len(mask) != rows:
            message = f"action_mask has {len(mask)} rows; expected {rows}, as the observation"
            raise invalid("action_mask_shape", message)
        return mask


def _expected(spec: ObservationSpec) -> _Expected:
    name = f"observation_dict[{spec.key!r}]" if spec.key else "observation"
    return _Expected(spec.key, spec.input_name, name, spec.shape, spec.size, np.dtype(spec.dtype))


def join(parts: Sequence[Columns]) -> Columns:
    """The rows of several calls, one after the other."""
    if len(parts) == 1:
        return parts[0]
    names = parts[0].observations
    observations = {name: np.concatenate([part.observations[name] for part in parts]) for name in names}
    rows = sum(part.rows for part in parts)
    return Columns(
        observations=observations,
        action_mask=_join_masks(parts),
        rows=rows,
        starts=_join_starts(parts),
        episodes=_join_episodes(parts),
        observed_ns=_join_observed(parts),
        assigned=parts[0].assigned,
    )


def _join_starts(parts: Sequence[Columns]) -> NDArray[np.bool_] | None:
    if all(part.starts is None for part in parts):
        return None
    return np.concatenate([np.zeros(p.rows, np.bool_) if p.starts is None else p.starts for p in parts])


def _join_observed(parts: Sequence[Columns]) -> NDArray[np.int64] | None:
    if all(part.observed_ns is None for part in parts):
        return None
    return np.concatenate(
        [np.zeros(p.rows, np.int64) if p.observed_ns is None else p.observed_ns for p in parts]
    )


def _join_episodes(parts: Sequence[Columns]) -> list[EpisodeRow] | None:
    """Once one part has episodes, all have: rows without one say how they were assigned."""
    if all(part.episodes is None and part.assigned == parts[0].assigned for part in parts):
        return None
    rows: list[EpisodeRow] = []
    for part in parts:
        rows += part.episodes or [EpisodeRow(by=part.assigned)] * part.rows
    return rows


def _join_masks(parts: Sequence[Columns]) -> NDArray[np.bool_] | None:
    width = next((part.action_mask.shape[1] for part in parts if part.action_mask is not None), None)
    if width is None:
        return None
    return np.concatenate(
        [np.ones((p.rows, width), np.bool_) if p.action_mask is None else p.action_mask for p in parts]
    )


def _listed(keys: Collection[str]) -> str:
    if not keys:
        return "no tensor"
    return "one plain tensor" if set(keys) == {""} else f"the keys {[key[:32] for key in sorted(keys)[:8]]}"


def _read(tensor: RawTensor, expected: _Expected) -> Array:
    """The tensor as [N, *shape] of the declared type."""
    array = tensor.elements.reshape(_shape(tensor, expected))
    if array.dtype == expected.dtype:
        return array
    if tensor.typed:
        raise invalid("dtype", f"{expected.name} has dtype {array.dtype}; expected {expected.dtype}")
    return _cast(array, expected)


def _shape(tensor: RawTensor, expected: _Expected) -> Shape:
    """Shape [N, *shape] that is given, or the only one that was meant."""
    count, size, shape = tensor.elements.size, expected.size, tensor.shape
    if shape and shape[1:] == expected.shape and shape[0] * size == count:
        return shape
    if shape is None or shape == expected.shape:
        whole = shape is None and not tensor.typed and size and count % size == 0
        shape = (count // size if whole else 1, *expected.shape)
    if shape[1:] != expected.shape or math.prod(shape) != count:
        given = "no shape" if tensor.shape is None else f"shape {list(tensor.shape[:8])}"
        wanted = ", ".join(map(str, ("N", *expected.shape)))
        message = f"{expected.name} has {count} elements and {given}; expected shape [{wanted}]"
        raise invalid(f"{expected.name.partition('[')[0]}_shape", message)
    return shape


def _cast(numbers: Array, expected: _Expected) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        cast = numbers.astype(expected.dtype)
    if expected.dtype.kind != "f" and not np.array_equal(cast, numbers):
        raise invalid("dtype", f"{expected.name} has numbers that are not exact; expected {expected.dtype}")
    return cast


def _common_rows(observations: Mapping[str, Array]) -> int:
    if len(observations) == 1:
        return len(next(iter(observations.values())))
    rows = {len(array) for array in observations.values()}
    if len(rows) != 1:
        raise invalid(
            "row_count", f"the tensors of observation_dict have {sorted(rows)} rows; expected the same number"
        )
    return rows.pop()


def _starts(call: Call) -> NDArray[np.bool_] | None:
    """Rows that begin an episode, told by `episode_starts` or else by step 0."""
    if call.episode_starts:
        return np.array(call.episode_starts, np.bool_)
    return np.array(call.steps, np.int64) == 0 if call.steps else None


def _observed(call: Call) -> NDArray[np.int64] | None:
    return np.array(call.observation_times, np.int64) if call.observation_times else None


def _check_per_row_fields(call: Call, rows: int) -> None:
    if not (call.episode_ids or call.episode_tokens or call.steps or call.episode_starts) and not (
        call.idempotency_keys or call.observation_times
    ):
        return
    for name, values in (
        ("episode_ids", call.episode_ids),
        ("idempotency_keys", call.idempotency_keys),
        ("episode_tokens", call.episode_tokens),
        ("steps", call.steps),
        ("episode_starts", call.episode_starts),
        ("observation_times_unix_nanos", call.observation_times),
    ):
        length = len(values)
        if length not in {0, rows}:
            raise invalid(name, f"{name} has {length} entries; expected none or {rows}, one per row")
    if any(len(name.encode()) > MAX_EPISODE_ID_BYTES for name in call.episode_ids):
        raise invalid(
            "episode_ids", f"an episode id is too long; expected at most {MAX_EPISODE_ID_BYTES} bytes"
        )
    if call.steps and not 0 <= min(call.steps) <= max(call.steps) <= MAX_STEPS:
        raise invalid("steps", f"a step is out of range; expected 0 to {MAX_STEPS}")
    keyed = [(e, k) for e, k in zip_longest(call.episode_ids, call.idempotency_keys) if k]
    if len(set(keyed)) < len(keyed):
        raise invalid("idempotency_keys", "two rows have the same idempotency key; expected another for each")
    if any(len(key) > MAX_IDEMPOTENCY_KEY_BYTES for key in call.idempotency_keys):
        raise invalid(
            "idempotency_keys",
            f"an idempotency key is too long; expected at most {MAX_IDEMPOTENCY_KEY_BYTES} bytes",
        )
