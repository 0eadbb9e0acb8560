"""What the policy does in states that were given rather than played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from steersman.bundle.specs import Mode
from steersman.export.observations import Array, take
from steersman.export.policies.inputs import Inputs, join_inputs
from steersman.export.policies.oracle import Oracle
from steersman.export.sources.episodes import Episode


def ask(
    oracle: Oracle,
    given: Sequence[Inputs],
    mode: Mode,
    *,
    seed: int,
    returns: Sequence[float | None] | None = None,
) -> tuple[Episode, ...]:
    """The policy's action in every state of every episode; a recurrent policy carries its state through each.

    Args:
        oracle: SB3's policy.
        given: Observations, and masks if any, of each episode in order.
        mode: Whether actions are greedy or sampled.
        seed: Of torch's generator for sampled ones.
        returns: Of each episode; None where they are unknown.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        recurrent = bool(oracle.family.traits.state)
        answered = (_carried if recurrent else _at_once)(oracle, given, sampled=mode == "sampled")
    totals = returns or [None] * len(given)
    return tuple(
        Episode(inputs, actions, total, np.arange(len(inputs)))
        for (inputs, actions), total in zip(answered, totals, strict=True)
    )


def _at_once(oracle: Oracle, given: Sequence[Inputs], *, sampled: bool) -> list[tuple[Inputs, Array]]:
    return [(inputs, oracle.act(inputs, sampled=sampled).actions) for inputs in given]


def _carried(oracle: Oracle, given: Sequence[Inputs], *, sampled: bool) -> list[tuple[Inputs, Array]]:
    """Step by step through all episodes side by side."""
    lengths = np.array([len(inputs) for inputs in given])
    state = {s.name: np.zeros((len(given), *s.shape), s.dtype) for s in oracle.family.traits.state}
    rows: list[list[Inputs]] = [[] for _ in given]
    actions: list[list[Array]] = [[] for _ in given]
    for place in range(lengths.max()):
        index = np.flatnonzero(lengths > place)
        shown = join_inputs([given[i].take(slice(place, place + 1)) for i in index.tolist()])
        start = np.full(len(index), place == 0)
        fed = replace(shown, state=take(state, index), episode_start=start)
        acted = oracle.act(fed, sampled=sampled)
        for name, following in acted.state.items():
            state[name][index] = following
        for row, i in enumerate(index.tolist()):
            rows[i].append(fed.take(slice(row, row + 1)))
            actions[i].append(acted.actions[row])
    return [(join_inputs(parts), np.stack(done)) for parts, done in zip(rows, actions, strict=True)]
