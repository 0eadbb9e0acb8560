"""What a graph is fed, and what SB3 can be asked about, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract
from steersman.export.observations import Array, Observations, count, join, take


@dataclass(frozen=True, slots=True)
class Inputs:
    """N rows. What is None is left to its default.

    Attributes:
        observations: [N, *shape] by graph input name, raw.
        action_mask: [N, mask width]; None allows everything.
        noise: [N, noise width] float32; None where nothing is sampled.
        state: [N, *shape] by state name; empty where the policy has none.
        episode_start: [N]; None where no row begins an episode.
    """

    observations: Observations
    action_mask: NDArray[np.bool_] | None = None
    noise: NDArray[np.float32] | None = None
    state: Mapping[str, Array] = field(default_factory=dict)
    episode_start: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return count(self.observations)

    def take(self, index: Any) -> Inputs:
        """Some rows: by a slice, positions or a truth value each."""
        return Inputs(
            take(self.observations, index),
            None if self.action_mask is None else self.action_mask[index],
            None if self.noise is None else self.noise[index],
            take(self.state, index),
            None if self.episode_start is None else self.episode_start[index],
        )

    def feeds(self) -> dict[str, Array]:
        """What is there, by graph input name."""
        feeds = dict(self.observations)
        feeds |= {} if self.action_mask is None else {"action_mask": self.action_mask}
        feeds |= {} if self.noise is None else {"noise": self.noise}
        feeds |= {f"state/{name}": array for name, array in self.state.items()}
        return feeds | ({} if self.episode_start is None else {"episode_start": self.episode_start})


def join_inputs(parts: Sequence[Inputs]) -> Inputs:
    """All rows of several; all have a mask, a state and so on, or none has."""
    first = parts[0]

    def joined(name: str) -> Any:
        if getattr(first, name) is None:
            return None
        return np.concatenate([getattr(part, name) for part in parts])

    return Inputs(
        join([part.observations for part in parts]),
        joined("action_mask"),
        joined("noise"),
        join([part.state for part in parts]) if first.state else {},
        joined("episode_start"),
    )


def complete(inputs: Inputs, contract: Contract, rng: np.random.Generator) -> Inputs:
    """The same rows with a mask and a state where the contract has one, so that they can be joined.

    Everything is allowed; states are random, and every third row begins an episode.
    """
    rows = len(inputs)
    if contract.mask_width and inputs.action_mask is None:
        inputs = replace(inputs, action_mask=np.ones((rows, contract.mask_width), np.bool_))
    if not contract.state or inputs.state:
        return inputs
    state = {spec.name: rng.uniform(-1, 1, (rows, *spec.shape)).astype(spec.dtype) for spec in contract.state}
    return replace(inputs, state=state, episode_start=np.arange(rows) % 3 == 0)


def draw_inputs(inputs: Inputs, contract: Contract, rng: np.random.Generator) -> Inputs:
    """The same rows with everything that the graph takes.

    Noise for every row. Of every four rows, one gets a random mask and one a mask with a single choice per
    segment.
    """
    drawn = complete(inputs, contract, rng)
    if drawn.action_mask is not None:
        drawn = replace(drawn, action_mask=_varied(drawn.action_mask, contract, rng))
    return replace(drawn, noise=draw_noise(len(inputs), contract, rng)) if contract.noise else drawn


def _varied(mask: NDArray[np.bool_], contract: Contract, rng: np.random.Generator) -> NDArray[np.bool_]:
    """[N, mask width]; every segment allows something."""
    varied, first = mask.copy(), 0
    varied[1::4] = rng.random(mask[1::4].shape) < 0.5
    varied[3::4] = False
    drawn = np.flatnonzero(np.arange(len(mask)) % 2 == 1)
    for segment in contract.action.mask_segments:
        varied[drawn, first + rng.integers(segment, size=len(drawn))] = True
        first += segment
    return varied


def draw_noise(rows: int, contract: Contract, rng: np.random.Generator) -> NDArray[np.float32]:
    """[N, noise width] as the contract wants it."""
    assert contract.noise is not None  # noqa: S101  callers ask only where there is noise
    shape = (rows, contract.noise.width)
    if contract.noise.law == "normal":
        return rng.standard_normal(shape, np.float32)
    cells = rng.integers(2**23, size=shape, dtype=np.int64)  # the middles of 2^23 cells: never 0 or 1
    return ((cells + 0.5) * 2.0**-23).astype(np.float32)
