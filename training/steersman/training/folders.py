"""Where a run is written: a folder of its own, claimed so that two runs never share one."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

from steersman.training.errors import TrainingUsageError

if TYPE_CHECKING:
    from pathlib import Path

    from steersman.training.settings import TrainingSettings


def claim_folder(settings: TrainingSettings) -> Path:
    """Make ``<out>/<environment>/<algo>-<seed>-<n>``, n the next free, or ``<out>/<environment>/<name>``.

    Raises:
        TrainingUsageError: the named folder exists, or ``out`` cannot be written to.
    """
    parent = settings.out / slug(settings.env_id)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return _claim_named(parent, settings.name) if settings.name else _claim_next(parent, settings)
    except OSError as error:
        raise TrainingUsageError(
            f"cannot make a run folder: {error.strerror}",
            where=f"--out {settings.out}",
            expected="a folder that can be written to",
        ) from error


def slug(env_id: str) -> str:
    """The environment's id as a folder name: ``ALE/Pong-v5`` becomes ``ALE-Pong-v5``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", env_id)


def _claim_named(parent: Path, name: str) -> Path:
    folder = parent / name
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise TrainingUsageError(
            "the run folder exists", where=str(folder), hint="Choose another --name, or leave it out."
        ) from error
    return folder


def _claim_next(parent: Path, settings: TrainingSettings) -> Path:
    stem = f"{settings.algo}-{settings.seed}-"
    taken = [entry.name.removeprefix(stem) for entry in parent.glob(f"{stem}*")]
    for n in count(1 + max((int(number) for number in taken if number.isdecimal()), default=0)):
        try:
            folder = parent / f"{stem}{n}"
            folder.mkdir()  # mkdir either makes it or fails: another run may be claiming too
        except FileExistsError:
            continue
        return folder
    raise AssertionError  # count never ends
