"""Observations that a policy saw in use, recorded in a file: what stands in for playing.

A `.npz` file without pickles: `obs`, or `obs/<key>` for each key of a Dict, [N, *shape]; and, where known,
`episode` [N] (an integer for each episode; its rows are in order, others may lie between), `action_mask`
[N, width] and `reward` [N]. Rows of a single episode, as of a task that never ends, are split into blocks as
they are without `episode`; a recurrent policy begins each block afresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steersman.export.errors import ExportUsageError
from steersman.export.observations import Array
from steersman.export.policies.inputs import Inputs
from steersman.export.reading.spaces import AnySpace
from steersman.export.sources.arrays import read_arrays
from steersman.export.sources.episodes import BLOCKS
from steersman.export.sources.layout import tensors

EXTRAS = ("episode", "action_mask", "reward")
_LAYOUT = "If your images have their channels last, say --image-layout channels-last."


@dataclass(frozen=True, slots=True)
class Recording:
    """What a file holds.

    Attributes:
        episodes: Rows of each episode, in order.
        returns: Sum of rewards of each; None where they are not known.
    """

    episodes: tuple[Inputs, ...]
    returns: tuple[float | None, ...]


def read_recording(
    path: Path, space: AnySpace, segments: Sequence[int] = (), *, recurrent: bool = False
) -> Recording:
    """Reads a file of observations.

    Args:
        path: The file.
        space: Raw observation space.
        segments: Width of each mask segment; empty where masks do not apply.
        recurrent: Whether the policy carries a state, so that episodes have to be known.

    Raises:
        ExportUsageError: It cannot be read, is too large, or holds no observations that the policy takes.
        DamagedFileError: It is not a whole file of arrays.
    """
    arrays = read_arrays(path)
    parts = tensors(space)
    _check_names(arrays, tuple(parts), path, recurrent=recurrent)
    observations = {name: _observation(arrays[name], part, f"{path}: {name}") for name, part in parts.items()}
    mask = _mask(arrays["action_mask"], segments, path) if "action_mask" in arrays else None
    rows = Inputs(observations, mask)
    episode = arrays.get("episode")
    known = episode is not None and bool((episode != episode[0]).any())
    spans = _spans(episode) if episode is not None and known else _blocks(len(rows))
    rewards = arrays.get("reward") if known else None
    returns = [None if rewards is None else float(rewards[span].sum()) for span in spans]
    return Recording(tuple(rows.take(span) for span in spans), tuple(returns))


def _check_names(
    arrays: Mapping[str, Array], wanted: tuple[str, ...], path: Path, *, recurrent: bool
) -> None:
    needed = (*wanted, "episode") if recurrent else wanted
    if missing := [name for name in needed if name not in arrays]:
        raise ExportUsageError(
            f"there is no array {missing[0]!r}, only {', '.join(arrays) or 'nothing'}", where=str(path)
        )
    if unknown := [name for name in arrays if name not in {*wanted, *EXTRAS}]:
        known = ", ".join((*wanted, *EXTRAS))
        raise ExportUsageError(f"array {unknown[0]!r} is not known", where=str(path), expected=known)
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        raise ExportUsageError(f"its arrays have {lengths} rows", where=str(path), expected="as many in each")
    for name, kinds, kind in (("episode", "iu", "integer"), ("reward", "iuf", "number")):
        if name in arrays and (arrays[name].ndim != 1 or arrays[name].dtype.kind not in kinds):
            raise ExportUsageError(f"this is not one {kind} for each row", where=f"{path}: {name}")


def _observation(array: Array, space: AnySpace, where: str) -> Array:
    shape, dtype = space.shape or (), np.dtype(space.dtype)
    if array.shape[1:] != shape or array.dtype.kind not in "biuf":
        raise ExportUsageError(
            f"observations are {array.dtype} {list(array.shape[1:])}",
            where=where,
            expected=f"{dtype} {list(shape)}",
            hint=_LAYOUT if array.ndim == 4 and (array.shape[3], *array.shape[1:3]) == shape else None,
        )
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        raise ExportUsageError(f"row {int(np.argmin(finite))} is not finite", where=where)
    cast = array.astype(dtype)
    if dtype.kind in "biu" and not np.array_equal(cast, array):
        raise ExportUsageError(f"there are values that are no {dtype}", where=where, expected=str(space))
    return cast


def _mask(array: Array, segments: Sequence[int], path: Path) -> NDArray[np.bool_]:
    where, width = f"{path}: action_mask", sum(segments)
    if array.shape[1:] != (width,) or not np.isin(array, (0, 1)).all():
        raise ExportUsageError(
            f"masks are {array.dtype} {list(array.shape[1:])}", where=where, expected=f"bool {[width]}"
        )
    mask = array.astype(np.bool_)
    firsts = np.cumsum([0, *segments])[:-1]
    if len(firsts) and not np.logical_or.reduceat(mask, firsts, axis=1).all():
        raise ExportUsageError("a row allows nothing", where=where, expected="a choice in every segment")
    return mask


def _blocks(rows: int) -> list[NDArray[np.int64]]:
    return [block for block in np.array_split(np.arange(rows), BLOCKS) if len(block)]


def _spans(episode: Array) -> list[NDArray[np.int64]]:
    """Rows of each episode."""
    order = np.argsort(episode, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(episode[order])) + 1)
