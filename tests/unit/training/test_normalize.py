"""Statistics travel with the model that they belong to."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from steersman.training import train_policy
from steersman.training.environments import EVALUATION_SEED_OFFSET
from steersman.training.errors import TrainingUsageError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import SettingsFactory


def seen(file: Path) -> float:
    """How many observations the statistics are made of."""
    return float(pickle.loads(file.read_bytes()).obs_rms.count)


def test_best_and_last_each_have_their_own_statistics(tiny: SettingsFactory) -> None:
    # Every step in this environment is worth less than the one before: the first evaluation stays the best.
    result = train_policy(tiny(normalize=True, eval_every=32, env_kwargs={"how": "fade"}))
    best = result.run.best
    assert best is not None
    assert (best.timesteps, result.run.timesteps_done) == (32, 256)
    # Both environments are reset and then stepped: count = epsilon + resets + steps.
    assert seen(result.folder / "best_vecnormalize.pkl") == pytest.approx(best.timesteps + 2, abs=1e-3)
    assert seen(result.folder / "vecnormalize.pkl") == pytest.approx(result.run.timesteps_done + 2, abs=1e-3)
    assert result.run.statistics_file(result.folder) == result.folder / "best_vecnormalize.pkl"


def test_the_best_pair_earns_its_recorded_return_again(tiny: SettingsFactory) -> None:
    result = train_policy(tiny("CartPole-v1", normalize=True, eval_every=1000))
    envs = VecNormalize.load(
        str(result.run.statistics_file(result.folder)),
        VecMonitor(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * 4)),
    )
    envs.training = envs.norm_reward = False
    envs.seed(EVALUATION_SEED_OFFSET)
    envs.reset()  # as the run's own evaluation environments had been, once, before their first evaluation
    model = PPO.load(result.run.policy_file(result.folder), device="cpu")
    returns, _ = evaluate_policy(model, envs, n_eval_episodes=4, return_episode_rewards=True)
    assert returns == np.load(result.folder / "evaluations.npz")["results"][0].tolist()


def test_evaluation_returns_are_in_the_environments_own_units(tiny: SettingsFactory) -> None:
    result = train_policy(tiny(normalize=True))
    returns = np.load(result.folder / "evaluations.npz")["results"]
    assert set(np.unique(returns)) <= set(range(11))


def test_without_normalisation_there_are_no_statistics(tiny: SettingsFactory) -> None:
    result = train_policy(tiny(timesteps=128))
    assert result.run.statistics_file(result.folder) is None


def test_rewards_are_discounted_as_the_policy_discounts_them(tiny: SettingsFactory) -> None:
    result = train_policy(tiny(normalize=True, timesteps=128, hyperparameters={"n_steps": 64, "gamma": 0.5}))
    assert pickle.loads((result.folder / "vecnormalize.pkl").read_bytes()).gamma == 0.5


@pytest.mark.parametrize("kind", ["discrete", "dict", "image"])
def test_only_numbers_can_be_normalised(tiny: SettingsFactory, tmp_path: Path, kind: str) -> None:
    with pytest.raises(TrainingUsageError, match="--normalize cannot scale"):
        train_policy(tiny(normalize=True, env_kwargs={"kind": kind}))
    assert list(tmp_path.iterdir()) == []
