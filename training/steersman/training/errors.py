"""What can go wrong in training, and the exit status each error ends with."""

from __future__ import annotations

from steersman.bundle.errors import SteersmanError


class TrainingError(SteersmanError):
    """Training, or reading a run, did not work."""


class TrainingUsageError(TrainingError):
    """A setting is wrong; nothing was trained and nothing was written."""

    exit_code = 2


class TargetMissedError(TrainingError):
    """All timesteps were done and the mean evaluation return stayed below the target."""


class RunNotFoundError(TrainingError):
    """There is no run in that folder."""

    exit_code = 2


class RunUnreadableError(TrainingError):
    """``run.json`` is damaged, of a newer version, or the run kept no model."""
