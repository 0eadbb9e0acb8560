"""Show a run to a person: a bar on a terminal, a line every few seconds elsewhere, a summary at the end."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from steersman.training.vocabulary import FILE_NAMES, FileRole, RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from steersman.training.progress import Progress, ProgressListener
    from steersman.training.run import Evaluation
    from steersman.training.train import TrainingResult

FIRST_LINE_SECONDS = 1.0
LINE_EVERY_SECONDS = 5.0


class Display:
    """A progress listener that remembers where the run is written."""

    def __init__(self, show: ProgressListener | None) -> None:
        self.folder: Path | None = None
        self._show = show

    def __call__(self, progress: Progress) -> None:
        """Note the folder and show the moment, if there is anything to show it on."""
        self.folder = progress.folder
        if self._show:
            self._show(progress)


@contextmanager
def open_display(*, quiet: bool = False, console: Console | None = None) -> Iterator[Display]:
    """A display on ``console``, by default stderr, so that stdout holds the result alone."""
    console = console or Console(stderr=True)
    if quiet:
        yield Display(None)
    elif console.is_terminal:
        with _bar(console) as bar:
            yield Display(_BarUpdates(bar))
    else:
        yield Display(_Lines(console))


def describe(progress: Progress) -> str:
    """How the policy does, such as ``return 87.1, evaluated 132.4 ± 20.1 (best 140.0), target 475``."""
    parts = []
    if progress.mean_return is not None:
        parts.append(f"return {progress.mean_return:.1f}")
    if progress.evaluation:
        best = f" (best {progress.best.mean_return:.1f})" if progress.best else ""
        parts.append(f"evaluated {_score(progress.evaluation)}{best}")
    if progress.target is not None:
        parts.append(f"target {progress.target:g}")
    return ", ".join(parts)


def summary(result: TrainingResult) -> str:
    """What became of a run and what to do with it, in a few lines."""
    run = result.run
    outcome = "Target reached" if run.target_return is not None else "Training done"
    if run.status is RunStatus.TARGET_MISSED:
        outcome = "Target missed"
    if run.best:
        outcome += f": best mean return {_score(run.best)} over {run.best.episodes} episodes"
        outcome += f", measured after {run.best.timesteps:,} steps"
    took = (run.ended_at or run.started_at) - run.started_at
    return (
        f"{outcome}. {run.timesteps_done:,} steps in {took.total_seconds():.0f} s.\n"
        f"Run     {result.folder}\n"
        f"Export  steersman export {result.folder}\n"
        f"Curves  tensorboard --logdir {result.folder / FILE_NAMES[FileRole.TENSORBOARD]}"
    )


class _Lines:
    """One line every few seconds, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._due = FIRST_LINE_SECONDS

    def __call__(self, progress: Progress) -> None:
        finished = progress.timesteps >= progress.total
        if progress.seconds < self._due and not finished:
            return
        self._due = progress.seconds + LINE_EVERY_SECONDS
        line = f"{progress.timesteps:,} of {progress.total:,} steps in {_duration(progress.seconds)}"
        if progress.seconds_left:
            line += f", at most {_duration(progress.seconds_left)} left"
        self._console.print(f"{line}: {describe(progress) or 'no episode has ended yet'}", soft_wrap=True)


class _BarUpdates:
    """Moves one bar."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task = bar.add_task("Training", total=None, steps="", score="")

    def __call__(self, progress: Progress) -> None:
        self._bar.update(
            self._task,
            completed=min(progress.timesteps, progress.total),
            total=progress.total,
            steps=f"{progress.timesteps:,}/{progress.total:,}",
            score=_brief(progress),
        )


def _bar(console: Console) -> Bar:
    return Bar(
        BarColumn(bar_width=18),
        TextColumn("{task.fields[steps]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[score]}"),
        console=console,
    )


def _brief(progress: Progress) -> str:
    parts = []
    if progress.mean_return is not None:
        parts.append(f"return {progress.mean_return:.1f}")
    if progress.best:
        parts.append(f"best {progress.best.mean_return:.1f}")
    if progress.target is not None:
        parts.append(f"target {progress.target:g}")
    return ", ".join(parts)


def _score(evaluation: Evaluation) -> str:
    return f"{evaluation.mean_return:.1f} ± {evaluation.std_return:.1f}"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
