"""Which files belong to a run of rl-baselines3-zoo: `<ENV>_<n>/` with zips, and `<ENV>/` inside with details.

Older runs have `<ENV>.zip` beside `<ENV>/`; those on the Hugging Face hub have all in one folder. A zip is
taken for a run's only where it lies and is named as the zoo does it: the next folder may be anybody's.
"""

from __future__ import annotations

import re
from pathlib import Path

from steersman.export.errors import ExportUsageError
from steersman.export.sources.paths import folders_in, is_file, is_folder

ARGUMENTS, CONFIG = "args.yml", "config.yml"
BEST = "best_model"
CHECKPOINT = re.compile(r"rl_model_(\d+)_steps")
STATISTICS = ("vecnormalize.pkl", "vec_normalize.pkl", "vecnormalize.pickle")
"""Names under which people keep VecNormalize's statistics beside a zip; the first is the zoo's."""


def find_details(path: Path) -> Path | None:
    """The folder with the zoo's own files that belongs to a run folder or zip; None where there is none.

    Raises:
        ExportUsageError: A folder holds several runs.
    """
    return _details_of_folder(path) if is_folder(path) else _details_of_zip(path)


def foreign_details(path: Path) -> list[Path]:
    """Folders beside a zip with files of runs that it is not known to be of."""
    return [folder for folder in folders_in(path.parent) if is_file(folder / ARGUMENTS)]


def find_statistics(*folders: Path) -> Path | None:
    """The first file in these folders that is named as statistics are."""
    named = (folder / name for folder in folders for name in STATISTICS)
    return next((file for file in named if is_file(file)), None)


def steps_of(checkpoint: Path) -> int:
    """How many steps a checkpoint was saved after; 0 for what is none."""
    match = CHECKPOINT.fullmatch(checkpoint.stem)
    return int(match[1]) if match else 0


def _details_of_zip(path: Path) -> Path | None:
    folder, name = path.parent, path.stem
    if _holds_details(folder / name):
        return folder / name
    run = re.fullmatch(r"(.+)_\d+", folder.absolute().name)
    if run and _holds_details(folder / run[1]) and (name in {BEST, run[1]} or CHECKPOINT.fullmatch(name)):
        return folder / run[1]
    return folder if is_file(folder / ARGUMENTS) else None


def _details_of_folder(path: Path) -> Path | None:
    if _holds_details(path):
        return path
    inside = [folder for folder in folders_in(path) if _holds_details(folder)]
    if len(inside) > 1:
        names = ", ".join(folder.name for folder in inside[:5])
        raise ExportUsageError(
            f"this folder is about several environments: {names}",
            where=str(path),
            hint="Name the zip that is to be exported.",
        )
    return inside[0] if inside else None


def _holds_details(folder: Path) -> bool:
    return any(is_file(folder / name) for name in (ARGUMENTS, CONFIG))
