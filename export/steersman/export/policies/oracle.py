"""What SB3 itself answers: the oracle that the graph is held to.

Greedy actions come from `policy.predict`, with VecNormalize's arithmetic before it. `predict` takes no mask,
so masked rows come from the policy's own torch distribution, its logits masked and then arg-maxed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch.distributions import Categorical

from steersman.export.reading.load import SavedPolicy
from steersman.export.reading.normalizer import Normalizer

Array = NDArray[Any]
CHUNK = 8192
"""Rows asked at once."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Expected outputs by name, each [N, ...], and how close the decisions were.

    Attributes:
        outputs: As the graph's outputs of the same names.
        margin: [N] float64, the best choice's logit less the second best's; infinite without a choice.
        sampled_margin: [N] float64, the same with the Gumbel noise added.
    """

    outputs: Mapping[str, Array]
    margin: NDArray[np.float64]
    sampled_margin: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Oracle:
    """A saved policy with its normalization."""

    saved: SavedPolicy
    normalizer: Normalizer | None

    def act(self, observations: Array, *, sampled: bool = False) -> Array:
        """The environment's actions [N, ...] for raw observations [N, *shape], by `policy.predict`.

        Choices of a Discrete space are counted from its `start`; SB3 itself counts them from 0.
        """
        actions = [self._predict(chunk, sampled=sampled) for chunk in _chunks(observations)]
        return np.concatenate(actions)

    def answer(
        self, observations: Array, noise: NDArray[np.float32], action_mask: Array | None = None
    ) -> Answers:
        """Every output of the graph for the same inputs.

        Args:
            observations: [N, *shape].
            noise: [N, noise width].
            action_mask: [N, n] for Discrete actions; None allows all.
        """
        answer = self._categorical if isinstance(self.saved.action_space, spaces.Discrete) else self._gaussian
        mask = np.ones(noise.shape, np.bool_) if action_mask is None else action_mask
        rows = np.arange(len(observations))
        parts = [answer(observations[i], noise[i], mask[i]) for i in _chunks(rows)]
        return Answers(
            {name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs},
            np.concatenate([part.margin for part in parts]),
            np.concatenate([part.sampled_margin for part in parts]),
        )

    def _normalized(self, observations: Array) -> Array:
        return observations if self.normalizer is None else self.normalizer(observations)

    def _predict(self, observations: Array, *, sampled: bool) -> Array:
        actions, _ = self.saved.policy.predict(self._normalized(observations), deterministic=not sampled)
        space = self.saved.action_space
        if isinstance(space, spaces.Discrete):
            return np.asarray(actions + space.start, space.dtype)
        return np.asarray(actions, space.dtype)

    def _ask(self, observations: Array) -> tuple[Any, Array]:
        """The policy's own distribution object, and the values."""
        policy = self.saved.policy
        with torch.no_grad():
            tensor, _ = policy.obs_to_tensor(self._normalized(observations))
            return policy.get_distribution(tensor).distribution, policy.predict_values(
                tensor
            ).flatten().numpy()

    def _categorical(self, observations: Array, noise: NDArray[np.float32], mask: Array) -> Answers:
        own, value = self._ask(observations)
        logits = own.logits.masked_fill(~torch.from_numpy(mask), -torch.inf)
        masked: Any = Categorical(logits=logits, validate_args=False)
        log_probs = masked.logits.numpy()
        perturbed = log_probs.astype(np.float64) - np.log(-np.log(noise.astype(np.float64)))
        sampled = perturbed.argmax(axis=1)
        greedy = np.where(
            mask.all(axis=1),
            self._predict(observations, sampled=False),
            log_probs.argmax(axis=1) + self._start,
        )
        outputs = {
            "action": greedy.astype(self.saved.action_space.dtype),
            "sampled_action": (sampled + self._start).astype(self.saved.action_space.dtype),
            "log_prob": masked.log_prob(torch.from_numpy(sampled)).numpy(),
            "entropy": masked.entropy().numpy(),
            "distribution": log_probs,
            "value": value,
        }
        return Answers(outputs, _margin(log_probs), _margin(perturbed))

    def _gaussian(self, observations: Array, noise: NDArray[np.float32], _: Array) -> Answers:
        own, value = self._ask(observations)
        space = self.saved.action_space
        assert isinstance(space, spaces.Box)  # noqa: S101  the only other space that loads
        unclipped = own.mean + own.stddev * torch.from_numpy(noise)
        shaped = unclipped.numpy().reshape(-1, *space.shape).astype(space.dtype)
        outputs = {
            "action": self._predict(observations, sampled=False),
            "sampled_action": np.clip(shaped, space.low, space.high),
            "log_prob": own.log_prob(unclipped).sum(dim=1).numpy(),
            "entropy": own.entropy().sum(dim=1).numpy(),
            "distribution": torch.cat([own.mean, own.stddev.log()], dim=1).numpy(),
            "value": value,
        }
        unlimited = np.full(len(observations), np.inf)
        return Answers(outputs, unlimited, unlimited)

    @property
    def _start(self) -> int:
        return int(getattr(self.saved.action_space, "start", 0))


def _margin(scores: Array) -> NDArray[np.float64]:
    """Best less second best along the second axis; infinite where the second is impossible."""
    if scores.shape[1] == 1:
        return np.full(len(scores), np.inf)
    second, best = np.partition(scores.astype(np.float64), -2, axis=1)[:, -2:].T
    with np.errstate(invalid="ignore"):
        return np.where(np.isneginf(second), np.inf, best - second)


def _chunks(rows: Array) -> Iterator[Array]:
    for first in range(0, len(rows), CHUNK):
        yield rows[first : first + CHUNK]
