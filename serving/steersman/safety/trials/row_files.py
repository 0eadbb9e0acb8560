"""Recorded rows out of files.

- `.npz`: `observations` [N, F] or one array for each input (`obs`, `obs/<key>`); `actions`, `masks`,
  `episodes` and `times_s` where there are any. Nothing in it is unpickled.
- `.csv`: one column for each feature, by name; `action`, or `action[0]`, `action[1]`, ...; `mask` (such as
  `1 0 1`), `episode`, `time_s`.
- `.jsonl`: on each line `{"observation": {"feature": number} or [numbers], "action": ..., "mask": [...],
  "episode": ..., "time_s": ...}`; what is said of one line is said of all.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.errors import UsageError
from steersman.bundle.features import feature_matrix
from steersman.bundle.specs import Contract, feature_names
from steersman.safety.columns import Array
from steersman.safety.errors import SafetyError
from steersman.safety.trials.cases import split_features
from steersman.safety.trials.recorded import Recorded

Table = dict[str, Any]
"""`observations`, and where there are any `actions`, `masks`, `episodes`, `times_s`; or input names."""


def read_rows(path: Path, contract: Contract) -> Recorded:
    """The rows of a file.

    Raises:
        UsageError: It cannot be read, or is of no kind that is known.
        SafetyError: Its rows do not fit the policy.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise UsageError("rows of this kind are not known", where=str(path), expected=", ".join(_READERS))
    try:
        table = reader(path.read_bytes(), feature_names(contract))
        return _recorded(table, contract)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except SafetyError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise SafetyError(error.what, where=where, expected=error.expected, hint=error.hint) from None
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise SafetyError(f"cannot be read as rows: {error}", where=str(path)) from None


def _npz(data: bytes, names: Sequence[str]) -> Table:
    del names
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        return dict(found)


def _csv(data: bytes, names: Sequence[str]) -> Table:
    header, *lines = list(csv.reader(io.StringIO(data.decode())))
    columns = {name.strip(): [line[i] for line in lines] for i, name in enumerate(header)}
    missing = [name for name in names if name not in columns]
    if missing:
        raise SafetyError(f"no column of {', '.join(missing[:6])}", expected="one for each feature, by name")
    table: Table = {"observations": np.array([columns[name] for name in names], np.float64).T}
    actions = [name for name in columns if name == "action" or name.startswith("action[")]
    if actions:
        found = np.array([columns[name] for name in actions], np.float64).T
        table["actions"] = found[:, 0] if actions == ["action"] else found
    if "mask" in columns:
        table["masks"] = np.array([[letter == "1" for letter in cell.split()] for cell in columns["mask"]])
    for name, column in (("episodes", "episode"), ("times_s", "time_s")):
        if column in columns:
            table[name] = np.array(columns[column])
    return table


def _jsonl(data: bytes, names: Sequence[str]) -> Table:
    lines = [json.loads(line) for line in data.decode().splitlines() if line.strip()]
    table: Table = {"observations": np.array([_json_row(line["observation"], names) for line in lines])}
    for name, key in (
        ("actions", "action"),
        ("masks", "mask"),
        ("episodes", "episode"),
        ("times_s", "time_s"),
    ):
        if lines and key in lines[0]:
            table[name] = np.array([line[key] for line in lines])
    return table


def _json_row(observation: Any, names: Sequence[str]) -> list[float]:
    if isinstance(observation, Mapping):
        return [float(observation[name]) for name in names]
    return [float(value) for value in np.ravel(observation)]


_READERS: dict[str, Callable[[bytes, Sequence[str]], Table]] = {
    ".npz": _npz,
    ".csv": _csv,
    ".jsonl": _jsonl,
}


def _recorded(table: Table, contract: Contract) -> Recorded:
    if not all(len(column) for column in table.values()):
        raise SafetyError("there are no rows")
    observations = _observations(table, contract)
    rows = len(next(iter(observations.values())))
    action = contract.action
    actions = _column(table, "actions", (rows, *action.shape))
    masks = _column(table, "masks", (rows, contract.mask_width))
    times, episodes = _column(table, "times_s", (rows,)), _column(table, "episodes", (rows,))
    return Recorded(
        features=feature_matrix(observations, contract),
        observations=observations,
        actions=None if actions is None else _typed(actions, action.dtype),
        masks=None if masks is None else masks.astype(np.bool_),
        episodes=None if episodes is None else np.unique(episodes, return_inverse=True)[1].ravel(),
        times_s=None if times is None else times.astype(np.float64),
    )


def _observations(table: Table, contract: Contract) -> dict[str, Array]:
    inputs = [spec.input_name for spec in contract.observations]
    if all(name in table for name in inputs):
        rows = len(table[inputs[0]])
        found = {}
        for spec in contract.observations:
            found[spec.input_name] = _typed(
                _shaped(table[spec.input_name], (rows, *spec.shape), spec.input_name), spec.dtype
            )
        return found
    if "observations" not in table:
        raise SafetyError("there are no observations", expected=f"observations, or {', '.join(inputs)}")
    names = feature_names(contract)
    given = np.asarray(table["observations"], np.float64)
    return split_features(
        _shaped(given.reshape(len(given), -1), (len(given), len(names)), "observations"), contract
    )


def _column(table: Table, name: str, shape: tuple[int, ...]) -> Array | None:
    if name not in table:
        return None
    found = np.asarray(table[name])
    return _shaped(found.reshape(shape) if found.size == np.prod(shape) else found, shape, name)


def _shaped(array: NDArray[Any], shape: tuple[int, ...], name: str) -> Array:
    if array.shape != shape:
        raise SafetyError(f"{name} has the shape {list(array.shape)}", expected=str(list(shape)))
    return array


def _typed(array: Array, dtype: str) -> Array:
    typed = array.astype(dtype)
    if np.dtype(dtype).kind != "f" and (typed != array).any():
        raise SafetyError(f"a value is no {dtype}", expected="whole numbers in its range")
    return typed
