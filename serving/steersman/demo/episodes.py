"""Playing CartPole through the client, one agent or many at a time."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns

import gymnasium
import numpy as np

from steersman.client import EpisodeState, PolicyClient

ENVIRONMENT = "CartPole-v1"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Played:
    """Episodes that were played.

    Attributes:
        returns: Return of each episode.
        steps: Steps of all of them.
        median_call_us: Median microseconds of one call, seen from the client.
    """

    returns: tuple[float, ...]
    steps: int
    median_call_us: float

    @property
    def mean_return(self) -> float:
        """Mean return."""
        return statistics.fmean(self.returns)


def play_one_by_one(
    client: PolicyClient, policy: str, episodes: int, seed: int, progress: Progress
) -> Played:
    """Plays episode after episode, one call per step."""
    environment = gymnasium.make(ENVIRONMENT)
    returns, calls = [], []
    for index in range(episodes):
        observation, _ = environment.reset(seed=seed + index)
        total, ended = 0.0, False
        with client.policy(policy).episode() as episode:
            while not ended:
                started = perf_counter_ns()
                decision = episode.act(observation)
                calls.append(perf_counter_ns() - started)
                observation, reward, terminated, truncated, _ = environment.step(decision.action)
                total += float(reward)
                ended = terminated or truncated
        returns.append(total)
        progress(f"{index + 1} of {episodes}, return {total:.0f}")
    return Played(tuple(returns), len(calls), statistics.median(calls) / 1000)


def play_together(client: PolicyClient, policy: str, episodes: int, seed: int, shift: np.ndarray) -> Played:
    """Plays all episodes side by side, one call per step for all of them, every observation shifted.

    Args:
        client: The client.
        policy: Name of the policy.
        episodes: Number of episodes.
        seed: Seed of the first episode; the next ones follow.
        shift: [F], added to each observation before it is sent, as a sensor that reads wrongly does.
    """
    environments = [gymnasium.make(ENVIRONMENT) for _ in range(episodes)]
    observations = {i: env.reset(seed=seed + i)[0] for i, env in enumerate(environments)}
    states = [EpisodeState(f"shifted-{seed + i}") for i in range(episodes)]
    returns = [0.0] * episodes
    calls = []
    while observations:
        going = list(observations)
        rows = np.stack([observations[i] for i in going]) + shift
        started = perf_counter_ns()
        decisions = client.act_batch(policy, rows, episode_ids=[states[i] for i in going])
        calls.append(perf_counter_ns() - started)
        for i, action in zip(going, decisions.actions, strict=True):
            observations[i], reward, terminated, truncated, _ = environments[i].step(int(action))
            returns[i] += float(reward)
            if terminated or truncated:
                del observations[i]
    return Played(tuple(returns), int(sum(returns)), statistics.median(calls) / 1000)
