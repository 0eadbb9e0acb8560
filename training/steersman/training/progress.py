"""What a running training reports, for whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from steersman.training.run import Evaluation


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a run."""

    folder: Path
    timesteps: int
    total: int
    seconds: float
    """Time since training began."""
    mean_return: float | None
    """Over the last finished training episodes, exploration included; None before the first."""
    evaluation: Evaluation | None
    """The latest one."""
    best: Evaluation | None
    target: float | None

    @property
    def seconds_left(self) -> float | None:
        """Time to the step cap at the pace so far; a target may end the run sooner."""
        if self.timesteps == 0:
            return None
        return self.seconds * max(self.total - self.timesteps, 0) / self.timesteps


ProgressListener = Callable[[Progress], None]
"""Called up to ten times a second on the training thread; keep it short."""
