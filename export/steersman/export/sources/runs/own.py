"""Run folders of `steersman train`: `run.json` and the files that it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from steersman.export.errors import DamagedFileError, ExportUsageError
from steersman.export.sources.paths import is_file
from steersman.export.vocabulary import Algorithm

RUN_FILE = "run.json"


class _Evaluation(BaseModel):
    mean_return: float
    timesteps: int | None = None


class Run(BaseModel):
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


@dataclass(frozen=True, slots=True)
class RunModel:
    """The model of a run that is exported: the best one, else the last.

    Attributes:
        zip: The SB3 file.
        vecnormalize: Statistics that belong to it; None where observations were not normalized.
        mean_return: What evaluation found; None for the last model, which was not evaluated.
        train_steps: Environment steps after which it was saved.
    """

    zip: Path
    vecnormalize: Path | None
    mean_return: float | None
    train_steps: int | None


def read_run(folder: Path) -> Run:
    """Reads `run.json`.

    Raises:
        DamagedFileError: It is not one.
    """
    file = folder / RUN_FILE
    try:
        return Run.model_validate_json(file.read_bytes())
    except OSError as error:
        raise DamagedFileError(f"it cannot be read: {error.strerror}", where=str(file)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DamagedFileError(f"{place}: {first['msg']}", where=str(file)) from error


def find_model(folder: Path, run: Run) -> RunModel:
    """Finds the model among the run's files.

    Raises:
        ExportUsageError: The run has saved none.
        DamagedFileError: A file is not there, or statistics are missing.
    """
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
    return RunModel(
        zip=_inside(folder, model),
        vecnormalize=_inside(folder, statistics) if statistics and run.normalize else None,
        mean_return=run.best.mean_return if best and run.best else None,
        train_steps=run.best.timesteps if best and run.best else run.timesteps_done,
    )


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).name != name or not is_file(path):
        raise DamagedFileError(f"the run names a file that is not in its folder: {name}", where=str(folder))
    return path
