"""What happens between training steps: evaluate, keep the best, stop at the target, report."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean

from steersman.training.progress import Progress

if TYPE_CHECKING:
    from steersman.training.evaluation import Evaluator
    from steersman.training.journal import RunJournal
    from steersman.training.progress import ProgressListener
    from steersman.training.run import Evaluation

REPORT_EVERY_SECONDS = 0.1


class Evaluate(BaseCallback):
    """Evaluates every so many steps and once at the end, and stops the run when the target is reached."""

    def __init__(self, evaluator: Evaluator, journal: RunJournal, every: int, target: float | None) -> None:
        super().__init__()
        self.latest: Evaluation | None = None
        self.reached = False
        self._evaluator = evaluator
        self._journal = journal
        self._every = every
        self._due = every
        self._target = target

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._due:
            self._due = self.num_timesteps + self._every
            self._evaluate()
        return not self.reached

    def _on_training_end(self) -> None:
        # The last update came after the last step: those weights have not been measured yet.
        if not self.reached:
            self._evaluate()

    def _evaluate(self) -> None:
        evaluation = self._evaluator.evaluate(self.model)
        if self._meets_target(evaluation):
            # The look that first passes the bar passed it partly by luck; fresh episodes decide.
            evaluation = self._evaluator.evaluate(self.model)
            self.reached = self._meets_target(evaluation)
        self.latest = evaluation
        self._record(evaluation)

    def _meets_target(self, evaluation: Evaluation) -> bool:
        return self._target is not None and evaluation.mean_return >= self._target

    def _record(self, evaluation: Evaluation) -> None:
        self._journal.keep_evaluations(self._evaluator.history)
        best = self._journal.run.best
        if math.isfinite(evaluation.mean_return) and (not best or evaluation.mean_return > best.mean_return):
            self._journal.keep_best(self.model, evaluation)
        self.logger.record("eval/mean_reward", evaluation.mean_return)
        self.logger.record("eval/std_reward", evaluation.std_return)
        self.logger.dump(self.num_timesteps)


class Report(BaseCallback):
    """Tells a listener how the run is doing, a few times a second and at the end."""

    def __init__(self, listener: ProgressListener, journal: RunJournal, evaluate: Evaluate) -> None:
        super().__init__()
        self._listener = listener
        self._journal = journal
        self._evaluate = evaluate
        self._started = time.monotonic()
        self._reported = -math.inf

    def _on_step(self) -> bool:
        if time.monotonic() - self._reported >= REPORT_EVERY_SECONDS:
            self._report()
        return True

    def _on_training_end(self) -> None:
        self._report()

    def _report(self) -> None:
        self._reported = time.monotonic()
        episodes = self.model.ep_info_buffer
        self._listener(
            Progress(
                folder=self._journal.folder,
                timesteps=self.num_timesteps,
                total=self._journal.run.timesteps_asked,
                seconds=self._reported - self._started,
                mean_return=float(safe_mean([episode["r"] for episode in episodes])) if episodes else None,
                evaluation=self._evaluate.latest,
                best=self._journal.run.best,
                target=self._journal.run.target_return,
            )
        )
