"""What a run of rl-baselines3-zoo says about its model, read from its files without running anything.

As `rl_zoo3/utils.py` reads them (`get_saved_hyperparams`, `get_wrapper_class`, `create_test_env`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from steersman.export.errors import DamagedFileError, ExportError, ExportUsageError
from steersman.export.settings import NamedWrapper
from steersman.export.sources.arrays import read_arrays
from steersman.export.sources.paths import is_file
from steersman.export.sources.runs.plain_python import brief, literal
from steersman.export.sources.runs.plain_yaml import read_yaml
from steersman.export.sources.runs.zoo_files import (
    ARGUMENTS,
    BEST,
    CONFIG,
    STATISTICS,
    find_details,
    find_statistics,
    steps_of,
)
from steersman.export.vocabulary import Algorithm

EVALUATIONS_BYTES = 16 * 1024**2
"""What the returns of all evaluations may unpack to: two million of them."""


@dataclass(frozen=True, slots=True)
class ZooRun:
    """What a run folder says.

    Attributes:
        zip: The model.
        name: The folder's name.
        vecnormalize: Statistics that belong to it; None where observations were not normalized.
        algo: The algorithm; None where the zoo's name for it is not one of SB3's.
        env_id: gymnasium's id.
        env_kwargs: Its arguments.
        wrappers: Innermost first.
        mean_return: Mean return of the best model's evaluation; None for other models, or if it was not kept.
        notes: What a person should know about how these were found.
    """

    zip: Path
    name: str
    vecnormalize: Path | None
    algo: Algorithm | None
    env_id: str
    env_kwargs: Mapping[str, Any]
    wrappers: tuple[NamedWrapper, ...]
    mean_return: float | None
    notes: tuple[str, ...]


def read_zoo_run(path: Path, details: Path, *, statistics: Path | None) -> ZooRun:
    """Reads a run.

    Args:
        path: The run's folder, or one of its zips.
        details: See `find_details`.
        statistics: What the user gives instead of the run's own.

    Raises:
        ExportUsageError: There is no model.
        DamagedFileError: A file cannot be read, or normalization is said to be on without statistics.
    """
    arguments, config = _read(details / ARGUMENTS), _read(details / CONFIG)
    env_id = _text(arguments.get("env") or details.name, "env", details)
    model = path if is_file(path) else _model(path, details, str(arguments.get("algo")), env_id)
    kept, remark = (None, ()) if statistics else _statistics(config, details, model.parent)
    used = _used(details, kept) if is_file(path) else ()
    packages = _packages(arguments, details)
    return ZooRun(
        zip=model,
        name=model.parent.name,
        vecnormalize=statistics or kept,
        algo=_algorithm(arguments.get("algo")),
        env_id=env_id,
        env_kwargs=_env_kwargs(arguments, config, details),
        wrappers=_wrappers(config, details / CONFIG),
        mean_return=_best_return(model),
        notes=(*used, *remark, *packages),
    )


def _used(details: Path, statistics: Path | None) -> tuple[str]:
    """Somebody who names a zip has to be told that more than the zip was read."""
    settings = [details / name for name in (ARGUMENTS, CONFIG) if is_file(details / name)]
    files = ", ".join(map(str, [*settings, *([statistics] if statistics else [])]))
    return (f"the zip was taken for a run's, and these files of the run were used: {files}",)


def _packages(arguments: Mapping[str, Any], details: Path) -> tuple[str, ...]:
    """A note on the modules that registered the environment."""
    names = _listed(arguments.get("gym_packages"))
    packages = ", ".join(_text(name, "gym_packages", details) for name in names)
    return (f"the run imported {packages}; to play in it, name it with --env-import",) if packages else ()


def _text(value: object, name: str, details: Path) -> str:
    if isinstance(value, str):
        return str(value)
    raise DamagedFileError(f"{name} is {brief(value)}", where=str(details / ARGUMENTS), expected="text")


def _read(file: Path) -> dict[str, Any]:
    return read_yaml(file) if is_file(file) else {}


def _algorithm(name: object) -> Algorithm | None:
    try:
        return Algorithm(str(name))
    except ValueError:
        return None  # such as `her`, which was a wrapper around other algorithms


def _model(path: Path, details: Path, algo: str, env_id: str) -> Path:
    """The best model, else the last one, else the latest checkpoint, else the only zip."""
    stems = [BEST, env_id.replace("/", "-"), details.name, f"{algo}-{env_id.replace('/', '-')}"]
    for folder in dict.fromkeys((path, details, details.parent)):
        found = [folder / f"{stem}.zip" for stem in stems]
        found += sorted(folder.glob("rl_model_*_steps.zip"), key=steps_of, reverse=True)
        for file in found:
            if is_file(file) and (folder in {path, details} or find_details(file) == details):
                return file
    raise ExportUsageError(
        "the run has saved no model",
        where=str(path),
        expected=" or ".join(f"{stem}.zip" for stem in stems[:2]),
    )


def _best_return(model: Path) -> float | None:
    """What SB3's `EvalCallback` wrote beside the best model."""
    file = model.with_name("evaluations.npz")
    if model.stem != BEST or not is_file(file):
        return None
    try:
        returns = read_arrays(file, EVALUATIONS_BYTES)["results"]
    except (ExportError, KeyError):
        return None
    if returns.ndim != 2 or returns.dtype.kind not in "iuf" or not returns.size:
        return None
    best = float(returns.mean(axis=1).max())
    return best if np.isfinite(best) else None


def _statistics(
    config: Mapping[str, Any], details: Path, beside: Path
) -> tuple[Path | None, tuple[str, ...]]:
    """Statistics to use, and a note where files disagree; without a config, the zoo goes by the file."""
    kept = find_statistics(details, beside)
    if not is_file(details / CONFIG):
        return kept, (f"there is no {CONFIG}, and {kept} was used for being there",) if kept else ()
    asked = config.get("normalize", False)
    normalize = literal(asked, details / CONFIG)
    if isinstance(normalize, dict) and not normalize.get("norm_obs", True):
        return None, ()
    if not asked:
        return None, (f"{kept} was not used, as {CONFIG} does not say normalize",) if kept else ()
    if kept:
        return kept, ()
    raise DamagedFileError(
        f"its {CONFIG} says that observations were normalized, but the statistics are not there",
        where=str(details),
        expected=STATISTICS[0],
        hint="Give them with --vecnormalize.",
    )


def _env_kwargs(arguments: Mapping[str, Any], config: Mapping[str, Any], details: Path) -> dict[str, Any]:
    """Those of the command line go before those of the hyperparameters. Nobody will watch."""
    hub = _read(details / "env_kwargs.yml")
    found = literal(arguments.get("env_kwargs") or config.get("env_kwargs") or hub, details / ARGUMENTS)
    if not isinstance(found, dict):
        raise DamagedFileError(f"env_kwargs are {brief(found)}", where=str(details), expected="a mapping")
    return {name: value for name, value in found.items() if name != "render_mode"}


def _wrappers(config: Mapping[str, Any], where: Path) -> tuple[NamedWrapper, ...]:
    named = [*_listed(config.get("env_wrapper")), *_listed(config.get("vec_env_wrapper"))]
    if frames := config.get("frame_stack"):
        named.append({"frame_stack": {"frames": frames}})
    return tuple(_wrapper(entry, where) for entry in named)


def _listed(entries: object) -> Sequence[object]:
    if entries is None:
        return []
    return list(entries) if isinstance(entries, list | tuple) else [entries]


def _wrapper(entry: object, where: Path) -> NamedWrapper:
    """A class's path, or a mapping from it to its arguments."""
    try:
        if isinstance(entry, dict) and len(entry) == 1:
            ((name, arguments),) = entry.items()
            return NamedWrapper(name=str(name), arguments=_json(arguments or {}))
        if isinstance(entry, str):
            return NamedWrapper(name=str(entry))
    except ValidationError:
        pass
    raise DamagedFileError(
        f"{brief(entry)} names no wrapper", where=str(where), expected="CLASS, or {CLASS: ARGUMENTS}"
    )


def _json(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, list | tuple) else value
