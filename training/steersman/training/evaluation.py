"""Measure a policy: whole episodes, deterministic actions, the environment's own rewards."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from steersman.training.run import Evaluation

if TYPE_CHECKING:
    from pathlib import Path

    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv


@dataclass(slots=True)
class EvaluationHistory:
    """Every evaluation so far, in the arrays that SB3's plotting helpers read."""

    timesteps: list[int] = field(default_factory=list)
    returns: list[list[float]] = field(default_factory=list)
    lengths: list[list[int]] = field(default_factory=list)

    def add(self, timesteps: int, returns: list[float], lengths: list[int]) -> None:
        """Append one evaluation, one return and one length (in steps) for each episode."""
        self.timesteps.append(timesteps)
        self.returns.append(returns)
        self.lengths.append(lengths)

    def save(self, path: Path) -> None:
        """Write ``timesteps`` (k), ``results`` (k, episodes) and ``ep_lengths`` (k, episodes)."""
        np.savez(path, timesteps=self.timesteps, results=self.returns, ep_lengths=self.lengths)


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Plays episodes in environments of its own, which go on from where the last evaluation left them.

    Each copy plays a fixed share of the episodes, so that short episodes do not count more often.
    """

    envs: VecEnv
    episodes: int
    history: EvaluationHistory = field(default_factory=EvaluationHistory)

    def evaluate(self, model: BaseAlgorithm) -> Evaluation:
        """Mean and standard deviation of the undiscounted return, with the model's current statistics."""
        self._copy_statistics(model)
        returns, lengths = evaluate_policy(
            model, self.envs, n_eval_episodes=self.episodes, deterministic=True, return_episode_rewards=True
        )
        if not isinstance(returns, list) or not isinstance(lengths, list):
            raise TypeError("evaluate_policy was asked for every episode and returned a mean")
        self.history.add(model.num_timesteps, returns, lengths)
        return Evaluation(
            mean_return=float(np.mean(returns)),
            std_return=float(np.std(returns)),
            episodes=len(returns),
            timesteps=model.num_timesteps,
        )

    def _copy_statistics(self, model: BaseAlgorithm) -> None:
        trained = model.get_vec_normalize_env()
        if trained is not None and isinstance(self.envs, VecNormalize):
            self.envs.obs_rms = deepcopy(trained.obs_rms)
