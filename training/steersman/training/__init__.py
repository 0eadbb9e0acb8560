"""Training runs: from a Gymnasium environment id to a run folder that export understands.

    from steersman.training import TrainingSettings, train_policy

    result = train_policy(TrainingSettings(env_id="CartPole-v1", target_return=475))
    print(result.folder, result.run.best)

The names below load on first use, so that reading a run (:mod:`steersman.training.run`) or listing the
command's options never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steersman.training.progress import Progress
    from steersman.training.run import Run, load_run
    from steersman.training.settings import TrainingSettings
    from steersman.training.train import TrainingResult, train_policy

__all__ = ["Progress", "Run", "TrainingResult", "TrainingSettings", "load_run", "train_policy"]

_HOMES = {
    "Progress": "progress",
    "Run": "run",
    "TrainingResult": "train",
    "TrainingSettings": "settings",
    "load_run": "run",
    "train_policy": "train",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module the first time it is asked for."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
