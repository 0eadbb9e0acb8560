"""The words of a training run: which algorithm, how it ended, what its files are for."""

from __future__ import annotations

from enum import StrEnum


class Algorithm(StrEnum):
    """Stable-Baselines3 algorithms that ``steersman train`` runs."""

    PPO = "ppo"
    """Proximal policy optimisation (Schulman et al. 2017)."""
    A2C = "a2c"
    """Synchronous advantage actor-critic (Mnih et al. 2016)."""


class RunStatus(StrEnum):
    """Where a run stands. A process that was killed outright leaves ``running`` behind."""

    RUNNING = "running"
    """Training has begun and nothing has ended it yet."""
    COMPLETE = "complete"
    """The target was reached, or all timesteps were done and no target was set."""
    TARGET_MISSED = "target_missed"
    """All timesteps were done and the target was not reached."""
    FAILED = "failed"
    """The environment or the optimiser raised; ``run.error`` says what."""
    INTERRUPTED = "interrupted"
    """Someone stopped it; the last model was kept."""


class FileRole(StrEnum):
    """What a file of the run folder is for; its value is the key in ``run.json``."""

    MODEL = "model"
    """The policy as it was when training ended."""
    BEST_MODEL = "best_model"
    """The policy with the highest mean evaluation return."""
    VECNORMALIZE = "vecnormalize"
    """Normalisation statistics that belong to ``model``."""
    BEST_VECNORMALIZE = "best_vecnormalize"
    """Normalisation statistics at the moment ``best_model`` was evaluated."""
    EVALUATIONS = "evaluations"
    """Every evaluation: ``timesteps``, ``results`` and ``ep_lengths``, as SB3's plots expect."""
    MONITOR = "monitor"
    """One line for each training episode: return, length, seconds since the start."""
    TENSORBOARD = "tensorboard"
    """Folder of TensorBoard event files."""
    TRACEBACK = "traceback"
    """Where a failed run failed, for its author."""


FILE_NAMES = {
    FileRole.MODEL: "model.zip",
    FileRole.BEST_MODEL: "best_model.zip",
    FileRole.VECNORMALIZE: "vecnormalize.pkl",
    FileRole.BEST_VECNORMALIZE: "best_vecnormalize.pkl",
    FileRole.EVALUATIONS: "evaluations.npz",
    FileRole.MONITOR: "monitor.csv",
    FileRole.TENSORBOARD: "tensorboard",
    FileRole.TRACEBACK: "traceback.txt",
}
