"""The run folder while it is being written: ``run.json`` is true after every call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from steersman.training.run import RUN_FILE
from steersman.training.vocabulary import FILE_NAMES, FileRole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from stable_baselines3.common.base_class import BaseAlgorithm

    from steersman.training.evaluation import EvaluationHistory
    from steersman.training.run import Evaluation, Run
    from steersman.training.vocabulary import RunStatus

    Writer = Callable[[Path], object]


class RunJournal:
    """Writes models, statistics and the record of one run; every file appears whole or not at all."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder = folder
        self.run = run
        self.update()

    def path(self, role: FileRole) -> Path:
        """Where the file of this role is, or will be."""
        return self.folder / FILE_NAMES[role]

    def update(self, *added: FileRole, **changes: Any) -> None:
        """Change fields of the record, add files to it, and write it."""
        files = {**self.run.files, **{role: FILE_NAMES[role] for role in added}}
        self.run = self.run.model_copy(update={"files": files, **changes})
        record = self.run.model_dump_json(indent=2) + "\n"
        _replace(self.folder, {RUN_FILE: lambda path: path.write_text(record, encoding="utf-8")})

    def keep_best(self, model: BaseAlgorithm, evaluation: Evaluation) -> None:
        """Save the model and the statistics that it was evaluated with, together."""
        self._keep(
            model,
            FileRole.BEST_MODEL,
            FileRole.BEST_VECNORMALIZE,
            best=evaluation,
            timesteps_done=model.num_timesteps,
        )

    def keep_last(self, model: BaseAlgorithm) -> None:
        """Save the model and the statistics as they are now, together."""
        self._keep(model, FileRole.MODEL, FileRole.VECNORMALIZE, timesteps_done=model.num_timesteps)

    def keep_evaluations(self, history: EvaluationHistory) -> None:
        """Save all evaluations so far."""
        self._write({FileRole.EVALUATIONS: history.save})

    def end(self, status: RunStatus, *, error: str | None = None, traceback: str | None = None) -> None:
        """Record how the run ended."""
        if traceback:
            self._write({FileRole.TRACEBACK: lambda path: path.write_text(traceback, encoding="utf-8")})
        self.update(status=status, error=error, ended_at=datetime.now(UTC))

    def _keep(self, model: BaseAlgorithm, zipped: FileRole, statistics: FileRole, **changes: object) -> None:
        writers: dict[FileRole, Writer] = {zipped: model.save}
        normalization = model.get_vec_normalize_env()
        if normalization is not None:
            writers[statistics] = lambda path: normalization.save(str(path))
        self._write(writers, **changes)

    def _write(self, writers: Mapping[FileRole, Writer], **changes: object) -> None:
        _replace(self.folder, {FILE_NAMES[role]: write for role, write in writers.items()})
        self.update(*writers, **changes)


def _replace(folder: Path, writers: Mapping[str, Writer]) -> None:
    """Write all files beside their places, then move them in, so that those that belong together stay so."""
    partials = {name: folder / f".partial-{name}" for name in writers}
    for name, write in writers.items():
        write(partials[name])
    for name, partial in partials.items():
        partial.replace(folder / name)
