"""Settings that are known to work, by environment.

Tuned values are RL Baselines3 Zoo's (``hyperparams/ppo.yml`` and ``a2c.yml``). An environment that is not
listed gets the general row: SB3's own hyperparameters, gathered in eight environments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from steersman.training.vocabulary import Algorithm

if TYPE_CHECKING:
    from pydantic import JsonValue

Values = Mapping[str, "JsonValue"]


@dataclass(frozen=True, slots=True)
class Tuned:
    """How to train one environment with one algorithm."""

    n_envs: int = 8
    normalize: bool = False
    hyperparameters: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Names:
    """What the components of an environment's observation and action mean; the environment does not say."""

    features: tuple[str, ...]
    actions: tuple[str, ...]


GENERAL = {
    # 8 x 256 is SB3's rollout of 2048 steps, gathered in parallel.
    Algorithm.PPO: Tuned(hyperparameters={"n_steps": 256}),
    Algorithm.A2C: Tuned(),
}

TUNED = {
    (Algorithm.PPO, "CartPole-v1"): Tuned(
        hyperparameters={
            "n_steps": 32,
            "batch_size": 256,
            "n_epochs": 20,
            "gamma": 0.98,
            "gae_lambda": 0.8,
            "ent_coef": 0.0,
            "learning_rate": "lin_0.001",
            "clip_range": "lin_0.2",
        }
    ),
    (Algorithm.PPO, "Acrobot-v1"): Tuned(
        n_envs=16,
        normalize=True,
        hyperparameters={"n_steps": 256, "gae_lambda": 0.94, "n_epochs": 4},
    ),
    (Algorithm.PPO, "MountainCar-v0"): Tuned(
        n_envs=16,
        normalize=True,
        hyperparameters={"n_steps": 16, "gae_lambda": 0.98, "n_epochs": 4},
    ),
    (Algorithm.PPO, "LunarLander-v3"): Tuned(
        n_envs=16,
        hyperparameters={
            "n_steps": 1024,
            "gae_lambda": 0.98,
            "gamma": 0.999,
            "n_epochs": 4,
            "ent_coef": 0.01,
        },
    ),
    (Algorithm.A2C, "Acrobot-v1"): Tuned(n_envs=16, normalize=True),
    (Algorithm.A2C, "MountainCar-v0"): Tuned(n_envs=16, normalize=True),
}

NAMES = {
    "CartPole-v1": Names(
        features=("cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"),
        actions=("push_left", "push_right"),
    ),
    "Acrobot-v1": Names(
        features=("cos_theta1", "sin_theta1", "cos_theta2", "sin_theta2", "velocity1", "velocity2"),
        actions=("torque_negative", "torque_zero", "torque_positive"),
    ),
    "MountainCar-v0": Names(features=("position", "velocity"), actions=("push_left", "coast", "push_right")),
    "Pendulum-v1": Names(features=("cos_theta", "sin_theta", "angular_velocity"), actions=("torque",)),
}


def tuned_for(algo: Algorithm, env_id: str) -> Tuned:
    """The tuned row of this environment, or the algorithm's general one."""
    return TUNED.get((algo, env_id), GENERAL[algo])
