"""Build the SB3 model that a plan describes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.utils import LinearSchedule

from steersman.training.errors import TrainingUsageError
from steersman.training.explain import one_line
from steersman.training.hyperparameters import linear_start
from steersman.training.vocabulary import Algorithm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gymnasium import Space
    from stable_baselines3.common.vec_env import VecEnv

    from steersman.training.hyperparameters import Hyperparameters, PolicyOptions
    from steersman.training.plan import Plan

Model = PPO | A2C

CLASSES: dict[Algorithm, type[Model]] = {Algorithm.PPO: PPO, Algorithm.A2C: A2C}

ACTIVATIONS = {
    "elu": torch.nn.ELU,
    "gelu": torch.nn.GELU,
    "leaky_relu": torch.nn.LeakyReLU,
    "relu": torch.nn.ReLU,
    "silu": torch.nn.SiLU,
    "tanh": torch.nn.Tanh,
}


def build_model(plan: Plan, envs: VecEnv) -> Model:
    """Build and seed the model; its networks exist afterwards, so what SB3 dislikes is known now.

    Raises:
        TrainingUsageError: SB3 refuses the combination of environment and hyperparameters.
    """
    settings = plan.settings
    policy = policy_kind(envs.observation_space)
    try:
        return CLASSES[settings.algo](
            policy,
            envs,
            seed=settings.seed,
            # Small networks are slower on an accelerator; its arithmetic is not repeatable either.
            device="auto" if policy == "CnnPolicy" else "cpu",
            **_arguments(plan.hyperparameters),
        )
    except (AssertionError, NotImplementedError, TypeError, ValueError) as error:
        raise TrainingUsageError(
            f"{settings.algo} cannot learn this environment with these hyperparameters: {one_line(error)}",
            where=f"--env {settings.env_id}",
        ) from error


def policy_kind(observation: Space[Any]) -> str:
    """SB3's name for the network that reads these observations."""
    if isinstance(observation, spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_image_space(observation) else "MlpPolicy"


@contextmanager
def one_torch_thread(model: Model) -> Iterator[None]:
    """Run small networks on one thread, where they are fastest and repeat bit for bit; leave CNNs alone."""
    before = torch.get_num_threads()
    if not is_image_space(model.observation_space):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _arguments(hyperparameters: Hyperparameters) -> dict[str, Any]:
    values = {name: _scheduled(value) for name, value in hyperparameters if name != "policy_kwargs"}
    options = hyperparameters.policy_kwargs
    return {**values, "policy_kwargs": _policy_kwargs(options) if options else None}


def _scheduled(value: object) -> object:
    start = linear_start(value)
    return value if start is None else LinearSchedule(start, 0.0, 1.0)


def _policy_kwargs(options: PolicyOptions) -> dict[str, Any]:
    kwargs = options.model_dump(exclude_none=True)
    if options.activation_fn:
        kwargs["activation_fn"] = ACTIVATIONS[options.activation_fn]
    return kwargs
