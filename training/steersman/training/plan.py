"""Settings with every default filled in: what will be done, decided before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from steersman.training.defaults import tuned_for
from steersman.training.hyperparameters import check_hyperparameters

if TYPE_CHECKING:
    from steersman.training.hyperparameters import Hyperparameters
    from steersman.training.settings import TrainingSettings

EVALUATIONS_PER_RUN = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked, complete description of one run."""

    settings: TrainingSettings
    hyperparameters: Hyperparameters
    n_envs: int
    normalize: bool
    eval_every: int


def make_plan(settings: TrainingSettings) -> Plan:
    """Complete ``settings`` from the table of defaults.

    Raises:
        TrainingUsageError: a hyperparameter is unknown or impossible.
    """
    tuned = tuned_for(settings.algo, settings.env_id)
    return Plan(
        settings=settings,
        hyperparameters=check_hyperparameters(
            settings.algo, {**tuned.hyperparameters, **settings.hyperparameters}
        ),
        n_envs=settings.n_envs or tuned.n_envs,
        normalize=tuned.normalize if settings.normalize is None else settings.normalize,
        eval_every=settings.eval_every or max(settings.timesteps // EVALUATIONS_PER_RUN, 1),
    )
