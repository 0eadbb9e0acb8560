"""What is exported: an SB3 zip alone, or the best model of a run with all that the run knows."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steersman.export.errors import ExportUsageError
from steersman.export.settings import ExportSettings, NamedWrapper
from steersman.export.sources.paths import is_file, is_folder
from steersman.export.sources.runs.own import RUN_FILE, find_model, read_run
from steersman.export.sources.runs.zoo import ZooRun, read_zoo_run
from steersman.export.sources.runs.zoo_files import find_details, find_statistics, foreign_details
from steersman.export.vocabulary import Algorithm, ImageLayout


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
        env_required: Whether it is an error when the environment cannot be made.
        wrappers: What was around the environment, innermost first.
        declared_wrappers: Wrappers that export does not know and that callers apply.
        image_layout: Where callers have the channels of their images.
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
    env_required: bool = True
    wrappers: tuple[NamedWrapper, ...] = ()
    declared_wrappers: tuple[NamedWrapper, ...] = ()
    image_layout: ImageLayout | None = None
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


def find_source(settings: ExportSettings) -> Source:
    """Finds the files; what the settings say goes before what the run says.

    Raises:
        ExportUsageError: There is no such file or folder, or the folder holds no run with a model.
        DamagedFileError: A file of the run cannot be read, or it lacks statistics that it needs.
    """
    source = _found(settings)
    asked: dict[str, Any] = {
        name: value
        for name in ("vecnormalize", "algo", "env_import", "feature_names", "action_names", "image_layout")
        if (value := getattr(settings, name)) is not None
    }
    if settings.wrapper:
        asked["wrappers"] = settings.wrapper
    return replace(source, **asked, **_environment(settings, source))


def _environment(settings: ExportSettings, source: Source) -> dict[str, Any]:
    declared = {"declared_wrappers": settings.declare_wrapper}
    if settings.env_id is not None:
        named = {"env_id": settings.env_id, "env_kwargs": settings.env_kwargs, "env_required": True}
        return declared | named
    return declared | {"env_kwargs": {**(source.env_kwargs or {}), **settings.env_kwargs} or None}


def _found(settings: ExportSettings) -> Source:
    path = settings.source
    _check_readable(path)
    if path.name == RUN_FILE and is_file(path):
        path = path.parent
    if is_file(path / RUN_FILE):
        return _with_unused_statistics(_from_run(path), settings)
    if not is_folder(path):
        path = _zip(path)
    if details := find_details(path):
        return _from_zoo(read_zoo_run(path, details, statistics=settings.vecnormalize))
    if is_file(path):
        return _with_unused_statistics(Source(path, notes=_unused_runs(path)), settings)
    raise ExportUsageError(
        f"this folder holds no {RUN_FILE}, and no args.yml of rl-baselines3-zoo",
        where=str(path),
        expected="a run folder, or an SB3 zip",
    )


def _check_readable(path: Path) -> None:
    """What is not there at all is looked for under another name later."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            next(path.iterdir(), None)
        elif stat.S_ISREG(kind):
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ExportUsageError(f"it cannot be read: {error.strerror or error}", where=str(path)) from error


def _zip(path: Path) -> Path:
    for candidate in (path, path.with_name(f"{path.name}.zip")):  # SB3's `load` adds the ending too
        if is_file(candidate):
            return candidate
    raise ExportUsageError(
        "there is no such file or folder",
        where=str(path),
        expected="a zip that SB3's `save` wrote, or a run folder",
    )


def _from_run(folder: Path) -> Source:
    run = read_run(folder)
    model = find_model(folder, run)
    return Source(
        zip=model.zip,
        vecnormalize=model.vecnormalize,
        algo=run.algo,
        env_id=run.env_id,
        env_kwargs=run.env_kwargs,
        env_import=run.env_import,
        feature_names=run.feature_names,
        action_names=run.action_names,
        run=run.name,
        mean_return=model.mean_return,
        train_steps=model.train_steps,
    )


def _from_zoo(run: ZooRun) -> Source:
    return Source(
        zip=run.zip,
        vecnormalize=run.vecnormalize,
        algo=run.algo,
        env_id=run.env_id,
        env_kwargs=run.env_kwargs,
        env_required=False,
        wrappers=run.wrappers,
        run=run.name,
        mean_return=run.mean_return,
        notes=run.notes,
    )


def _unused_runs(path: Path) -> tuple[str, ...]:
    folders = foreign_details(path)
    if not folders:
        return ()
    names = ", ".join(map(str, folders[:3])) + (f" and {len(folders) - 3} more" if len(folders) > 3 else "")
    note = (
        f"{names}: not used, as nothing says that {path.name} is of that run; if it is, name the run's folder"
    )
    return (f"{note}, or give --env, --wrapper and --vecnormalize",)


def _with_unused_statistics(source: Source, settings: ExportSettings) -> Source:
    """Statistics beside the zip that nobody named are likely forgotten ones."""
    if source.vecnormalize is not None or settings.vecnormalize is not None:
        return source
    if not (unused := find_statistics(source.zip.parent)):
        return source
    note = f"{unused} was not used; if it belongs to the model, export it with --vecnormalize {unused}"
    return replace(source, notes=(*source.notes, note))
