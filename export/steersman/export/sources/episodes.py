"""Episodes, and how they are put together from steps of many copies of an environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Mode
from steersman.export.policies.inputs import Inputs, join_inputs

Array = NDArray[Any]
MOST_BYTES = 400 * 1024**2
"""Observations, masks and states of all modes take no more than this: 14,800 Atari screens."""
BLOCKS = 20
"""Where episodes are not known, rows are split into so many blocks at least, which take their place."""

Origin = Literal["environment", "recorded", "space"]
"""Where observations come from: episodes that the policy played, a file that the user gave, or samples."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode of T steps, of which K are kept with all that the policy was given.

    Attributes:
        inputs: K rows: raw observations, masks where the environment gave them, and the recurrent state that
            the policy carried.
        actions: [T, ...], as the environment took them.
        total_return: Undiscounted sum of rewards; None where the episode was cut or rewards are unknown.
        kept: [K] int64, which steps the rows are of; all of them unless memory is short.
    """

    inputs: Inputs
    actions: Array
    total_return: float | None
    kept: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rollout:
    """Episodes of one serving mode; samples of the space come in blocks that stand in for episodes."""

    mode: Mode
    episodes: tuple[Episode, ...]
    origin: Origin = "environment"

    @property
    def steps(self) -> int:
        """Number of steps."""
        return sum(len(episode.actions) for episode in self.episodes)

    @property
    def synthetic(self) -> bool:
        """Whether the observations are samples of the space."""
        return self.origin == "space"

    @property
    def mean_return(self) -> float | None:
        """Mean over the episodes that ended by themselves."""
        returns = [e.total_return for e in self.episodes if e.total_return is not None]
        return float(np.mean(returns)) if returns else None


def examined_episodes(rollouts: Sequence[Rollout]) -> list[Episode]:
    """Episodes whose states may judge a graph, no state twice.

    Recorded observations are the same in every mode, so one mode stands for all.
    """
    chosen = rollouts[:1] if rollouts[0].origin == "recorded" else rollouts
    return [episode for rollout in chosen for episode in rollout.episodes]


@dataclass(frozen=True, slots=True)
class Step:
    """What several copies did at once.

    Attributes:
        episodes: [N], which episode each row is of.
        places: [N], which step of its episode.
        actions: [N, ...].
        rewards: [N].
    """

    episodes: NDArray[np.int64]
    places: NDArray[np.int64]
    actions: Array
    rewards: NDArray[np.float64]


class Log:
    """Every step that was taken, and the rows of all or, where memory is short, of a uniform sample of them.

    The sample is Vitter's algorithm R ("Random sampling with a reservoir", 1985), of steps of all copies.

    Args:
        most_bytes: What the rows may take.
        rng: Chooses among them.
    """

    def __init__(self, most_bytes: int, rng: np.random.Generator) -> None:
        self.rows = 0
        self._most_bytes, self._rng = most_bytes, rng
        self._steps: list[Step] = []
        self._kept: list[tuple[Step, Inputs]] = []

    def add(self, step: Step, inputs: Inputs) -> None:
        """Takes one step of some copies."""
        capacity = max(1, self._most_bytes // _bytes(self._kept[0][1] if self._kept else inputs))
        if len(self._kept) < capacity:
            self._kept.append((step, inputs))
        elif (place := int(self._rng.integers(len(self._steps) + 1))) < capacity:
            self._kept[place] = (step, inputs)
        self._steps.append(step)
        self.rows += len(step.episodes)

    def episodes(self, ended: NDArray[np.bool_]) -> tuple[Episode, ...]:
        """All episodes in order.

        Args:
            ended: For each episode, whether it ended by itself; the others were cut.
        """
        owners = np.concatenate([step.episodes for step in self._steps])
        actions = _by_episode(owners, np.concatenate([step.actions for step in self._steps]), len(ended))
        rewards = np.concatenate([step.rewards for step in self._steps])
        returns = np.bincount(owners, rewards, minlength=len(ended))
        rows = self._rows(len(ended))
        return tuple(
            Episode(inputs, actions[i], float(returns[i]) if ended[i] else None, kept)
            for i, (inputs, kept) in enumerate(rows)
            if len(actions[i])
        )

    def _rows(self, episodes: int) -> list[tuple[Inputs, NDArray[np.int64]]]:
        owners = np.concatenate([step.episodes for step, _ in self._kept])
        places = np.concatenate([step.places for step, _ in self._kept])
        joined = join_inputs([inputs for _, inputs in self._kept])
        self._kept.clear()  # or the rows are held twice while they are put in order
        order = np.lexsort((places, owners))
        joined, places = joined.take(order), places[order]
        edges = np.searchsorted(owners[order], np.arange(episodes + 1))
        parts = [slice(a, b) for a, b in pairwise(edges)]
        return [(joined.take(part), places[part]) for part in parts]


def _by_episode(owners: NDArray[np.int64], values: Array, episodes: int) -> list[Array]:
    """The values of each episode, in the order in which they came."""
    order = np.argsort(owners, kind="stable")
    edges = np.searchsorted(owners[order], np.arange(1, episodes))
    return np.split(values[order], edges)


def _bytes(inputs: Inputs) -> int:
    return max(1, sum(array.nbytes for array in inputs.feeds().values()))
