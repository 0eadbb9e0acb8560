"""Run folders of rl-baselines3-zoo: `<ENV>_<n>/` with zips, and `<ENV>/` inside with all that the run knows.

Read by `rl_zoo3/utils.py` (`get_saved_hyperparams`, `get_wrapper_class`, `create_test_env`), without running
anything. Older runs have `<ENV>.zip` beside `<ENV>/`; those on the Hugging Face hub have all in one folder.
"""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from steersman.export.errors import DamagedFileError, ExportUsageError
from steersman.export.settings import NamedWrapper
from steersman.export.sources.runs.plain_yaml import read_yaml
from steersman.export.vocabulary import Algorithm

ARGUMENTS, CONFIG = "args.yml", "config.yml"
BEST = "best_model"
STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl", "vecnormalize.pickle")
"""Names under which people keep VecNormalize's statistics beside a zip; the first is the zoo's."""


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
        packages: Modules that register it.
        wrappers: Innermost first.
        mean_return: Mean return of the best model's evaluation; None for other models, or if it was not kept.
    """

    zip: Path
    name: str
    vecnormalize: Path | None
    algo: Algorithm | None
    env_id: str
    env_kwargs: Mapping[str, Any]
    packages: tuple[str, ...]
    wrappers: tuple[NamedWrapper, ...]
    mean_return: float | None


def find_details(path: Path) -> Path | None:
    """The folder with the zoo's own files that belongs to a run folder or zip; None where there is none.

    Raises:
        ExportUsageError: A folder holds several runs.
    """
    if path.is_dir():
        return _details_of_folder(path)
    named = path.parent / path.stem
    if _holds_details(named):
        return named
    inside = [folder for folder in _folders(path.parent) if (folder / ARGUMENTS).is_file()]
    if len(inside) == 1:
        return inside[0]
    return path.parent if (path.parent / ARGUMENTS).is_file() else None


def _details_of_folder(path: Path) -> Path | None:
    if _holds_details(path):
        return path
    inside = [folder for folder in _folders(path) if _holds_details(folder)]
    if len(inside) > 1:
        names = ", ".join(folder.name for folder in inside[:5])
        raise ExportUsageError(
            f"this folder is about several environments: {names}",
            where=str(path),
            hint="Name the zip that is to be exported.",
        )
    return inside[0] if inside else None


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir())


def _holds_details(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (ARGUMENTS, CONFIG))


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
    arguments = _read(details / ARGUMENTS)
    config = _read(details / CONFIG)
    env_id = str(arguments.get("env") or details.name)
    model = path if path.is_file() else _model(path, details, str(arguments.get("algo")), env_id)
    return ZooRun(
        zip=model,
        name=model.parent.name,
        vecnormalize=statistics or _statistics(config, details, model.parent),
        algo=_algorithm(arguments.get("algo")),
        env_id=env_id,
        env_kwargs=_env_kwargs(arguments, config, details),
        packages=tuple(str(name) for name in arguments.get("gym_packages") or ()),
        wrappers=_wrappers(config, details / CONFIG),
        mean_return=_best_return(model),
    )


def _read(file: Path) -> dict[str, Any]:
    return read_yaml(file) if file.is_file() else {}


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
        found += sorted(folder.glob("rl_model_*_steps.zip"), key=_steps, reverse=True)
        for file in found:
            if file.is_file():
                return file
    raise ExportUsageError(
        "the run has saved no model",
        where=str(path),
        expected=" or ".join(f"{stem}.zip" for stem in stems[:2]),
    )


def _best_return(model: Path) -> float | None:
    """What SB3's `EvalCallback` wrote beside the best model."""
    if model.stem != BEST:
        return None
    try:
        with np.load(model.with_name("evaluations.npz"), allow_pickle=False) as kept:
            return float(kept["results"].mean(axis=1).max())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _steps(checkpoint: Path) -> int:
    digits = checkpoint.stem.split("_")[-2]
    return int(digits) if digits.isdigit() else 0


def _statistics(config: Mapping[str, Any], details: Path, beside: Path) -> Path | None:
    normalize = literal(config.get("normalize", False), details / CONFIG)
    if not (normalize.get("norm_obs", True) if isinstance(normalize, dict) else normalize):
        return None
    for folder in (details, beside):
        for name in STATISTICS:
            if (folder / name).is_file():
                return folder / name
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
        raise DamagedFileError(f"env_kwargs are {found!r}", where=str(details), expected="a mapping")
    return {name: value for name, value in found.items() if name != "render_mode"}


def _wrappers(config: Mapping[str, Any], where: Path) -> tuple[NamedWrapper, ...]:
    named = [*_listed(config.get("env_wrapper")), *_listed(config.get("vec_env_wrapper"))]
    wrappers = [_wrapper(entry, where) for entry in named]
    if frames := config.get("frame_stack"):
        wrappers.append(NamedWrapper(name="frame_stack", arguments={"frames": frames}))
    return tuple(wrappers)


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
        f"{entry!r} names no wrapper", where=str(where), expected="CLASS, or {CLASS: ARGUMENTS}"
    )


def _json(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, list | tuple) else value


def literal(value: object, where: Path) -> Any:
    """What the zoo evaluates as Python, where it is `dict(...)` or a literal; other types are as they are.

    Raises:
        DamagedFileError: It is other code.
    """
    if not isinstance(value, str):
        return value
    try:
        return _evaluated(ast.parse(value, mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise DamagedFileError(f"{value!r} is code that is not run", where=str(where)) from error


def _evaluated(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError
        return {keyword.arg: _evaluated(keyword.value) for keyword in node.keywords}
    return ast.literal_eval(node)
