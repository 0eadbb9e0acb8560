"""Whole episodes played by SB3's own policy: what the policy sees and does when it runs as intended."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Mode
from steersman.export.policies.oracle import Oracle
from steersman.export.sources.copies import Copies
from steersman.export.sources.episodes import MOST_BYTES, Log, Rollout, Step

Indices = NDArray[np.int64]
LEAST_STEPS = 16_000
"""Steps of all modes that are played at least, however few episodes were asked: the gates need 10,000 states,
and a quarter of them go to calibration."""
MOST_STEPS = 120_000
"""Steps per mode after which playing stops; episodes under way are cut and kept."""


def play(
    oracle: Oracle,
    copies: Copies,
    mode: Mode,
    episodes: int,
    *,
    seed: int = 0,
    on_steps: Callable[[int], None] = lambda _: None,
) -> Rollout:
    """Plays at least `episodes` episodes, and steps within the mode's share of the limits.

    `seed` makes the episodes repeatable; the policy samples with torch's generator, which is its own matter.

    Raises:
        ExportError: The environment failed.
    """
    copies.restart(seed)
    modes = mode_count(oracle)
    game = _Game(oracle, copies, mode, Log(MOST_BYTES // modes, np.random.default_rng(seed)))
    quota = -(-episodes // len(copies))
    while game.log.rows < LEAST_STEPS // modes:
        game.play_round(quota, on_steps)
        quota = 1
    return Rollout(mode, game.log.episodes(np.array(game.ended)))


def mode_count(oracle: Oracle) -> int:
    """Number of modes that a policy has, which the limits of steps and memory are divided among."""
    return 2 if "sampled_action" in oracle.family.traits.outputs else 1


class _Game:
    """Rounds of one mode. In each, every copy plays a number of episodes that is fixed beforehand.

    Stopping at a number of steps instead would prefer short episodes.
    """

    def __init__(self, oracle: Oracle, copies: Copies, mode: Mode, log: Log) -> None:
        self.log = log
        self.ended: list[bool] = []
        self._oracle, self._copies, self._sampled = oracle, copies, mode == "sampled"
        self._episode = np.zeros(len(copies), np.int64)
        self._place = np.zeros(len(copies), np.int64)

    def play_round(self, quota: int, on_steps: Callable[[int], None]) -> None:
        """Every copy ends `quota` episodes, or the steps run out."""
        left = np.full(len(self._copies), max(1, quota))
        self._begin(np.arange(len(left)))
        while (playing := np.flatnonzero(left)).size and self.log.rows < MOST_STEPS:
            done = self._step(playing)
            left[done] -= 1
            self._begin(done[left[done] > 0])
            on_steps(self.log.rows)

    def _begin(self, index: Indices) -> None:
        self._episode[index] = len(self.ended) + np.arange(len(index))
        self._place[index] = 0
        self.ended += [False] * len(index)

    def _step(self, index: Indices) -> Indices:
        """One step of these copies; gives those whose episodes ended with it."""
        inputs = self._copies.look(index)
        acted = self._oracle.act(inputs, sampled=self._sampled)
        rewards, ended = self._copies.step(index, acted)
        self.log.add(Step(self._episode[index], self._place[index], acted.actions, rewards), inputs)
        self._place[index] += 1
        for episode in self._episode[index[ended]]:
            self.ended[episode] = True
        return index[ended]
