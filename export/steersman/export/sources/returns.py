"""Returns over paired episodes: every form of a policy plays the same seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from steersman.export.sources.copies import Act, Copies

EPISODES = 40
"""Episodes that each form plays."""
MOST_STEPS = 2_000
"""Steps after which an episode is cut; it is cut at the same place for every form, so pairs stay pairs."""


def evaluate(
    copies: Copies, act: Act, seed: int, *, on_steps: Callable[[int], None] = lambda _: None
) -> NDArray[np.float64]:
    """The undiscounted return of one episode of each copy, which is played whole or to `MOST_STEPS`.

    Args:
        copies: One for each episode.
        act: The form of the policy, greedy.
        seed: Copy i begins with `seed + i`; with the same seed, the results of two calls are pairs.
        on_steps: Called with the number of steps that are behind.

    Raises:
        ExportError: The environment failed.
    """
    copies.restart(seed)
    returns = np.zeros(len(copies))
    playing = np.arange(len(copies))
    for step in range(MOST_STEPS):
        rewards, ended = copies.step(playing, act(copies.look(playing)))
        returns[playing] += rewards
        playing = playing[~ended]
        on_steps(step)
        if not playing.size:
            break
    return returns
