"""What ``steersman train`` does once its options are read."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from pydantic import ValidationError

from steersman.training.display import open_display, summary
from steersman.training.errors import TargetMissedError, TrainingUsageError
from steersman.training.explain import first_problem
from steersman.training.pairs import parse_pairs
from steersman.training.settings import TrainingSettings
from steersman.training.train import train_policy
from steersman.training.vocabulary import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from steersman.training.train import TrainingResult

INTERRUPTED = 130
"""128 + SIGINT, what a shell reports for a command stopped by Ctrl-C."""

OPTIONS = {"env_id": "--env", "hyperparameters": "--hyperparameter"}


def parse_settings(
    *,
    pairs: Mapping[str, Sequence[str] | None],
    lists: Mapping[str, str | None],
    values: Mapping[str, object],
) -> TrainingSettings:
    """Build settings from options as typed: ``key=value`` pairs, comma-separated lists, plain values.

    Raises:
        TrainingUsageError: naming the option and what was wrong with it.
    """
    parsed = {field: parse_pairs(texts or (), _option(field)) for field, texts in pairs.items()}
    split = {field: [part.strip() for part in text.split(",")] for field, text in lists.items() if text}
    try:
        return TrainingSettings.model_validate({**parsed, **split, **values})
    except ValidationError as error:
        field, what = first_problem(error)
        raise TrainingUsageError(what, where=_option(field)) from error


def run_command(settings: TrainingSettings, *, quiet: bool, as_json: bool) -> None:
    """Train, showing progress on stderr and the result on stdout.

    Raises:
        TargetMissedError: the steps ran out first; the run is kept.
    """
    with _terminated_like_interrupted(), open_display(quiet=quiet) as progress:
        try:
            result = train_policy(settings, progress)
        except KeyboardInterrupt:
            typer.echo(f"Interrupted. The run is kept in {progress.folder}.", err=True)
            raise typer.Exit(INTERRUPTED) from None
    typer.echo(_as_json(result) if as_json else summary(result))
    if result.run.status is RunStatus.TARGET_MISSED:
        raise _missed(result)


def _option(field: str) -> str:
    head, _, _ = field.partition(".")
    return OPTIONS.get(head, f"--{head.replace('_', '-')}")


def _as_json(result: TrainingResult) -> str:
    record: dict[str, Any] = {"folder": str(result.folder), **result.run.model_dump(mode="json")}
    return json.dumps(record, indent=2)


def _missed(result: TrainingResult) -> TargetMissedError:
    run = result.run
    reached = f"a mean return of {run.best.mean_return:.1f}" if run.best else "no finite return"
    return TargetMissedError(
        f"{run.timesteps_done:,} steps were done and the best evaluation reached {reached}",
        where=str(result.folder),
        expected=f"at least {run.target_return:g}",
        hint="The run is kept, marked target_missed. Raise --timesteps or change --hyperparameter.",
    )


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM, which schedulers and containers send, end a run as tidily as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
