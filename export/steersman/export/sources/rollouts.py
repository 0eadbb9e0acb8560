"""Whole episodes played by SB3's own policy: what the policy sees and does when it runs as intended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from steersman.bundle.specs import Mode
from steersman.export.policies.oracle import Oracle

Array = NDArray[Any]
LEAST_STEPS = 8_000
"""Steps per mode that are played at least, however few episodes were asked: the gates need 10,000 in all."""
MOST_STEPS = 120_000
"""Steps per mode after which playing stops; episodes under way are cut and kept."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode of T steps.

    Attributes:
        observations: [T, *shape], raw.
        actions: [T, ...], as the environment took them.
        total_return: Undiscounted sum of rewards; None where the episode was cut.
    """

    observations: Array
    actions: Array
    total_return: float | None


@dataclass(frozen=True, slots=True)
class Rollout:
    """Episodes of one serving mode; synthetic ones are samples of the observation space in blocks."""

    mode: Mode
    episodes: tuple[Episode, ...]
    synthetic: bool = False

    @property
    def steps(self) -> int:
        """Number of states."""
        return sum(len(episode.actions) for episode in self.episodes)

    @property
    def mean_return(self) -> float | None:
        """Mean over the episodes that ended by themselves."""
        returns = [e.total_return for e in self.episodes if e.total_return is not None]
        return float(np.mean(returns)) if returns else None


def play(
    oracle: Oracle, envs: VecEnv, mode: Mode, episodes: int, on_steps: Callable[[int], None] = lambda _: None
) -> Rollout:
    """Plays at least `episodes` episodes and `LEAST_STEPS` steps, and no more than `MOST_STEPS` steps.

    The policy samples with torch's generator; seed it to repeat a rollout.
    """
    played: list[Episode] = []
    quota, steps = -(-episodes // envs.num_envs), 0
    while steps < LEAST_STEPS:
        played += _play_round(oracle, envs, mode, quota, on_steps)
        quota, steps = 1, sum(len(episode.actions) for episode in played)
    return Rollout(mode, tuple(played))


def _play_round(
    oracle: Oracle, envs: VecEnv, mode: Mode, quota: int, on_steps: Callable[[int], None]
) -> tuple[Episode, ...]:
    """Every copy plays `quota` episodes: a number fixed beforehand does not prefer short ones."""
    recorder = _Recorder(envs.num_envs, quota)
    observations = envs.reset()
    while not recorder.complete and recorder.steps < MOST_STEPS:
        assert isinstance(observations, np.ndarray)  # noqa: S101  Dict observations do not load
        actions = oracle.act(observations, sampled=mode == "sampled")
        following, rewards, dones, _ = envs.step(actions)
        recorder.record(observations, actions, rewards, dones)
        observations = following
        on_steps(recorder.steps)
    return recorder.finish()


def sample_space(oracle: Oracle, mode: Mode, episodes: int, seed: int) -> Rollout:
    """Stands in for episodes where no environment is known: samples of the observation space."""
    space = oracle.saved.observation_space
    space.seed(seed)
    blocks = max(episodes, 20)
    states = np.stack([space.sample() for _ in range(-(-LEAST_STEPS // blocks) * blocks)])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        actions = oracle.act(states, sampled=mode == "sampled")
    parts = zip(np.split(states, blocks), np.split(actions, blocks), strict=True)
    return Rollout(mode, tuple(Episode(o, a, None) for o, a in parts), synthetic=True)


class _Recorder:
    """Gathers each copy's steps until it has ended its quota of episodes."""

    def __init__(self, copies: int, quota: int) -> None:
        self.steps = 0
        self._quota = quota
        self._done = np.zeros(copies, np.int64)
        self._open: list[list[tuple[Array, Array, float]]] = [[] for _ in range(copies)]
        self._episodes: list[Episode] = []

    @property
    def complete(self) -> bool:
        """Whether every copy has ended its quota."""
        return bool((self._done >= self._quota).all())

    def record(self, observations: Array, actions: Array, rewards: Array, dones: Array) -> None:
        """Takes one step of every copy that is still playing."""
        for i in np.flatnonzero(self._done < self._quota):
            self._open[i].append((observations[i].copy(), actions[i], float(rewards[i])))
            self.steps += 1
            if dones[i]:
                self._close(int(i), cut=False)
                self._done[i] += 1

    def finish(self) -> tuple[Episode, ...]:
        """All episodes; those under way are cut."""
        for i, steps in enumerate(self._open):
            if steps:
                self._close(i, cut=True)
        return tuple(self._episodes)

    def _close(self, i: int, *, cut: bool) -> None:
        observations, actions, rewards = zip(*self._open[i], strict=True)
        total = None if cut else float(np.sum(rewards))
        self._episodes.append(Episode(np.stack(observations), np.stack(actions), total))
        self._open[i] = []
