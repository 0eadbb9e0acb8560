"""Make the training and the evaluation environments of a run, or say why that cannot be.

Both are vectors of copies in this process, with a monitor that sees the environment's own rewards, and
running normalisation on top when the run asks for it.
"""

from __future__ import annotations

import importlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from steersman.bundle.validation import close_match
from steersman.training.errors import TrainingUsageError
from steersman.training.explain import one_line
from steersman.training.learnable import check_learnable, check_normalizable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stable_baselines3.common.vec_env import VecEnv

    from steersman.training.plan import Plan
    from steersman.training.settings import TrainingSettings

MOST_EVALUATION_ENVS = 20
EVALUATION_SEED_OFFSET = 1_000_003
"""Keeps evaluation episodes apart from those of training, whose environments are seeded one by one from
``seed`` upwards."""


@dataclass(frozen=True, slots=True)
class Environments:
    """Where a policy learns and where it is measured."""

    training: VecEnv
    monitor: VecMonitor
    """The layer of ``training`` that records episodes; give it a writer to keep them."""
    evaluation: VecEnv


@contextmanager
def open_environments(plan: Plan) -> Iterator[Environments]:
    """Make, check and in the end close the environments of a run.

    Raises:
        TrainingUsageError: the environment is unknown, cannot be made or reset, or has spaces
            that cannot be learned.
    """
    settings = plan.settings
    register(settings)
    with ExitStack() as opened:
        monitor, evaluation = (
            VecMonitor(_copies(settings, count))
            for count in (plan.n_envs, min(settings.eval_episodes, MOST_EVALUATION_ENVS))
        )
        opened.callback(monitor.close)
        opened.callback(evaluation.close)
        check_learnable(settings.env_id, evaluation.observation_space, evaluation.action_space)
        if not plan.normalize:
            yield Environments(monitor, monitor, evaluation)
            return
        check_normalizable(settings.env_id, evaluation.observation_space)
        yield Environments(
            training=VecNormalize(monitor, gamma=plan.hyperparameters.gamma),
            monitor=monitor,
            evaluation=VecNormalize(evaluation, training=False, norm_reward=False),
        )


def register(settings: TrainingSettings) -> None:
    """Import the module that registers the environment, and make sure that the id is known.

    Raises:
        TrainingUsageError: the module cannot be imported, or nothing is registered under the id.
    """
    if settings.env_import:
        _import(settings.env_import)
    if settings.env_id in gymnasium.registry:
        return
    raise TrainingUsageError(
        "no environment is registered under this id",
        where=f"--env {settings.env_id}",
        hint=close_match(settings.env_id, gymnasium.registry)
        or "Name the module that registers it with --env-import.",
    )


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:  # a user's module may raise anything at all
        raise TrainingUsageError(
            f"cannot import it: {one_line(error)}",
            where=f"--env-import {module}",
            hint="A module in this folder is found with PYTHONPATH=. in front of the command.",
        ) from error


def _copies(settings: TrainingSettings, count: int) -> VecEnv:
    kwargs: dict[str, Any] = settings.env_kwargs

    def make() -> gymnasium.Env[Any, Any]:
        return gymnasium.make(settings.env_id, **kwargs)

    try:
        copies = DummyVecEnv([make] * count)
        copies.seed(settings.seed + EVALUATION_SEED_OFFSET)
        copies.reset()  # an environment that cannot even start is found before a folder is made
    except Exception as error:  # a user's environment may raise anything at all
        raise TrainingUsageError(
            f"the environment cannot be made or reset: {one_line(error)}",
            where=f"--env {settings.env_id}",
            hint="Check --env-kwargs, and that the environment's own packages are installed.",
        ) from error
    return copies
