"""Train a policy from settings to a finished run folder: the whole story, in order."""

from __future__ import annotations

import traceback
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import ResultsWriter

from steersman.training.algorithms import build_model, one_torch_thread
from steersman.training.callbacks import Evaluate, Report
from steersman.training.environments import open_environments
from steersman.training.errors import TrainingError
from steersman.training.evaluation import Evaluator
from steersman.training.explain import one_line
from steersman.training.folders import claim_folder
from steersman.training.hyperparameters import as_written
from steersman.training.journal import RunJournal
from steersman.training.labels import labels_for
from steersman.training.plan import make_plan
from steersman.training.run import Run
from steersman.training.versions import installed_versions
from steersman.training.vocabulary import FileRole, RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stable_baselines3.common.callbacks import BaseCallback

    from steersman.training.algorithms import Model
    from steersman.training.environments import Environments
    from steersman.training.labels import Labels
    from steersman.training.plan import Plan
    from steersman.training.progress import ProgressListener
    from steersman.training.settings import TrainingSettings


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A run that has ended, and where it lies."""

    folder: Path
    run: Run


def train_policy(settings: TrainingSettings, progress: ProgressListener | None = None) -> TrainingResult:
    """Train, evaluate and save a policy; on one machine, equal settings give equal weights, bit for bit.

    Everything is checked before the run folder is made. Missing the target is a result
    (``run.status``), not an error. The global random generators are seeded.

    Args:
        settings: What to train and where to write it.
        progress: Called with a :class:`Progress` while training.

    Raises:
        TrainingUsageError: a setting is wrong; nothing was written.
        TrainingError: the environment or the optimiser failed; the run folder says so.
        KeyboardInterrupt: someone stopped it; the run folder says so and holds the last model.
    """
    plan = make_plan(settings)
    with ExitStack() as cleanup:
        environments = cleanup.enter_context(open_environments(plan))
        spaces = environments.evaluation
        labels = labels_for(settings, spaces.observation_space, spaces.action_space)
        model = build_model(plan, environments.training)
        cleanup.enter_context(one_torch_thread(model))
        journal = _open_journal(plan, labels)
        with _ending_recorded(journal, model):
            _attach_logs(journal, model, environments)
            status = _learn(plan, model, environments, journal, progress)
            journal.keep_last(model)
        journal.end(status)
    return TrainingResult(journal.folder, journal.run)


def _open_journal(plan: Plan, labels: Labels) -> RunJournal:
    settings = plan.settings
    folder = claim_folder(settings)
    run = Run(
        name=folder.name,
        status=RunStatus.RUNNING,
        algo=settings.algo,
        env_id=settings.env_id,
        env_kwargs=settings.env_kwargs,
        env_import=settings.env_import,
        seed=settings.seed,
        n_envs=plan.n_envs,
        normalize=plan.normalize,
        hyperparameters=as_written(plan.hyperparameters),
        timesteps_asked=settings.timesteps,
        target_return=settings.target_return,
        feature_names=labels.features,
        action_names=labels.actions,
        started_at=datetime.now(UTC),
        versions=installed_versions(),
    )
    return RunJournal(folder, run)


def _attach_logs(journal: RunJournal, model: Model, environments: Environments) -> None:
    header: dict[str, float | str] = {"t_start": environments.monitor.t_start, "env_id": journal.run.env_id}
    environments.monitor.results_writer = ResultsWriter(str(journal.path(FileRole.MONITOR)), header=header)
    model.set_logger(configure(str(journal.path(FileRole.TENSORBOARD)), ["tensorboard"]))
    journal.update(FileRole.MONITOR, FileRole.TENSORBOARD)


def _learn(
    plan: Plan,
    model: Model,
    environments: Environments,
    journal: RunJournal,
    progress: ProgressListener | None,
) -> RunStatus:
    settings = plan.settings
    evaluator = Evaluator(environments.evaluation, settings.eval_episodes)
    evaluate = Evaluate(evaluator, journal, plan.eval_every, settings.target_return)
    callbacks: list[BaseCallback] = [evaluate]
    if progress:
        callbacks.append(Report(progress, journal, evaluate))
    model.learn(settings.timesteps, callback=CallbackList(callbacks))
    missed = settings.target_return is not None and not evaluate.reached
    return RunStatus.TARGET_MISSED if missed else RunStatus.COMPLETE


@contextmanager
def _ending_recorded(journal: RunJournal, model: Model) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        journal.keep_last(model)
        journal.end(RunStatus.INTERRUPTED)
        raise
    except Exception as error:  # whatever the environment or the optimiser raised belongs in the record
        what = one_line(error)
        journal.end(RunStatus.FAILED, error=what, traceback=traceback.format_exc())
        raise TrainingError(
            f"training failed: {what}",
            where=str(journal.folder),
            hint=f"The run is kept, marked failed; see {journal.path(FileRole.TRACEBACK)}.",
        ) from error
    finally:
        model.logger.close()
