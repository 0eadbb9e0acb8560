"""What is exported: an SB3 zip alone, or the best model of a Steersman run with all that the run knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from steersman.export.errors import DamagedFileError, ExportUsageError
from steersman.export.settings import ExportSettings
from steersman.export.vocabulary import Algorithm

RUN_FILE = "run.json"
STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl", "vecnormalize.pickle")
"""Names under which people keep VecNormalize's statistics beside a zip."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files to export and what is known about them; None where nothing is.

    Attributes:
        zip: The SB3 file.
        vecnormalize: The statistics that belong to it.
        algo: The algorithm.
        env_id: gymnasium id of the environment.
        env_kwargs: Its arguments.
        env_import: Module that registers it.
        feature_names: Names of the observation's elements.
        action_names: Names of the choices or of the action's elements.
        run: Name of the training run.
        mean_return: What training reached.
        train_steps: Environment steps after which this model was saved.
        notes: What a person should know about how these were found.
    """

    zip: Path
    vecnormalize: Path | None = None
    algo: Algorithm | None = None
    env_id: str | None = None
    env_kwargs: Mapping[str, Any] | None = None
    env_import: str | None = None
    feature_names: tuple[str, ...] | None = None
    action_names: tuple[str, ...] | None = None
    run: str | None = None
    mean_return: float | None = None
    train_steps: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def policy_name(self) -> str:
        """The name that the policy gets when none is asked for."""
        name = re.sub(r"-v\d+$", "", self.env_id.rpartition("/")[2]) if self.env_id else self.zip.stem
        slug = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:63]
        return slug or "policy"


class _Evaluation(BaseModel):
    mean_return: float
    timesteps: int | None = None


class _Run(BaseModel):
    """The part of `run.json` that export needs; `steersman.training.run` has the whole."""

    model_config = ConfigDict(extra="ignore")

    name: str | None = None
    algo: Algorithm | None = None
    env_id: str
    env_kwargs: dict[str, Any] = {}
    env_import: str | None = None
    normalize: bool = False
    best: _Evaluation | None = None
    timesteps_done: int | None = None
    feature_names: tuple[str, ...] | None = None
    action_names: tuple[str, ...] | None = None
    files: dict[str, str] = {}


def find_source(settings: ExportSettings) -> Source:
    """Finds the files; what the settings say goes before what the run says.

    Raises:
        ExportUsageError: There is no such file or folder, or the folder holds no run with a model.
        DamagedFileError: `run.json` cannot be read.
    """
    path = settings.source
    if path.name == RUN_FILE and path.is_file():
        path = path.parent
    source = _from_run(path) if path.is_dir() else _from_zip(path)
    asked: dict[str, Any] = {
        name: value
        for name in ("vecnormalize", "algo", "env_import", "feature_names", "action_names")
        if (value := getattr(settings, name)) is not None
    }
    if settings.env_id is not None:
        asked |= {"env_id": settings.env_id, "env_kwargs": settings.env_kwargs}
    elif settings.env_kwargs:
        asked["env_kwargs"] = {**(source.env_kwargs or {}), **settings.env_kwargs}
    return _noted(replace(source, **asked))


def _from_zip(path: Path) -> Source:
    for candidate in (path, path.with_name(f"{path.name}.zip")):  # SB3's `load` adds the ending too
        if candidate.is_file():
            return Source(candidate)
    raise ExportUsageError(
        "there is no such file or folder",
        where=str(path),
        expected="a zip that SB3's `save` wrote, or a run folder that `steersman train` wrote",
    )


def _from_run(folder: Path) -> Source:
    run = _read_run(folder)
    best = "best_model" in run.files
    model = run.files.get("best_model" if best else "model")
    if model is None:
        raise ExportUsageError(
            "the run has saved no model yet", where=str(folder), hint="Train it again, or wait."
        )
    statistics = run.files.get("best_vecnormalize" if best else "vecnormalize")
    if run.normalize and statistics is None:
        raise DamagedFileError(
            "the run normalized its observations, but kept no statistics for this model", where=str(folder)
        )
    return Source(
        zip=_inside(folder, model),
        vecnormalize=_inside(folder, statistics) if statistics and run.normalize else None,
        algo=run.algo,
        env_id=run.env_id,
        env_kwargs=run.env_kwargs,
        env_import=run.env_import,
        feature_names=run.feature_names,
        action_names=run.action_names,
        run=run.name,
        mean_return=run.best.mean_return if best and run.best else None,
        train_steps=run.best.timesteps if best and run.best else run.timesteps_done,
    )


def _read_run(folder: Path) -> _Run:
    file = folder / RUN_FILE
    try:
        return _Run.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ExportUsageError(
            f"this folder holds no {RUN_FILE}", where=str(folder), expected="a run folder, or an SB3 zip"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DamagedFileError(f"{place}: {first['msg']}", where=str(file)) from error


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise DamagedFileError(f"the run names a file that is not in its folder: {name}", where=str(folder))
    return path


def _noted(source: Source) -> Source:
    """Statistics beside the zip that nobody named are likely forgotten ones."""
    if source.vecnormalize is not None or source.run is not None:
        return source
    beside = [source.zip.with_name(name) for name in STATISTICS]
    notes = tuple(
        f"{path} was not used; if it belongs to the model, export it with --vecnormalize {path}"
        for path in beside
        if path.is_file()
    )
    return replace(source, notes=notes)
