"""The record of a training run, ``run.json``: what export reads and what a person finds later.

Nothing here imports torch, so any part may read a run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from steersman.training.errors import RunNotFoundError, RunUnreadableError
from steersman.training.explain import first_problem
from steersman.training.versions import Versions
from steersman.training.vocabulary import Algorithm, FileRole, RunStatus

RUN_FILE = "run.json"

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A name inside the run folder; a path that leaves the folder is refused."""


class Evaluation(BaseModel):
    """Undiscounted return of the deterministic policy over whole episodes, in the environment's own units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean_return: float
    std_return: float
    episodes: int
    timesteps: int
    """Training steps done when it was measured."""


class Run(BaseModel):
    """One training run; its folder is named nowhere inside, so a run can be moved or copied whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    name: str
    status: RunStatus
    error: str | None = None
    """Why it failed, in one line."""

    algo: Algorithm
    env_id: str
    env_kwargs: dict[str, JsonValue] = {}
    env_import: str | None = None
    """Module to import first: it registers the environment."""
    seed: int
    n_envs: int
    normalize: bool
    """Whether observations and rewards were normalised with running statistics (VecNormalize)."""
    hyperparameters: dict[str, JsonValue]
    """All of them, defaults included, as they would be written: a linear schedule is ``lin_0.001``."""

    timesteps_asked: int
    timesteps_done: int = 0
    """At most one rollout (``n_steps * n_envs``) above what was asked."""
    target_return: float | None = None
    best: Evaluation | None = None

    feature_names: tuple[str, ...] | None = None
    """Names of the observation's components, in order."""
    action_names: tuple[str, ...] | None = None
    """Names of a Discrete space's choices, otherwise of the action's components."""

    started_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    versions: Versions
    files: dict[FileRole, FileName] = {}
    """What has been written so far, by role."""

    def policy_file(self, folder: Path) -> Path:
        """The model zip to export: the best one if there is one, else the last.

        Raises:
            RunUnreadableError: the run ended, or was looked at, before any model was saved.
        """
        for role in (FileRole.BEST_MODEL, FileRole.MODEL):
            if role in self.files:
                return folder / self.files[role]
        raise RunUnreadableError(
            f"the run is {self.status} and has saved no model",
            where=str(folder),
            hint="Train it again, or wait for its first evaluation.",
        )

    def statistics_file(self, folder: Path) -> Path | None:
        """The VecNormalize statistics that belong to :meth:`policy_file`; None when not normalised."""
        best = FileRole.BEST_MODEL in self.files
        role = FileRole.BEST_VECNORMALIZE if best else FileRole.VECNORMALIZE
        return folder / self.files[role] if role in self.files else None


def load_run(path: str | Path) -> Run:
    """Read the run in ``path``, which is a run folder or its ``run.json``.

    Raises:
        RunNotFoundError: there is no such file.
        RunUnreadableError: it is not JSON, or not a run that this version understands.
    """
    file = Path(path)
    if file.name != RUN_FILE:
        file /= RUN_FILE
    try:
        return Run.model_validate_json(file.read_bytes())
    except OSError as error:
        raise RunNotFoundError(
            f"there is no {RUN_FILE}", where=str(path), expected="a folder that `steersman train` wrote"
        ) from error
    except ValidationError as error:
        field, what = first_problem(error)
        raise RunUnreadableError(
            f"{field}: {what}" if field else what,
            where=str(file),
            hint="The file is damaged or was written by another version of Steersman.",
        ) from error
