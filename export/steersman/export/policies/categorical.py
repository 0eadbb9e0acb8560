"""Choices drawn from masked logits: the Discrete, MultiDiscrete and MultiBinary actions of actor-critics."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.distributions import BernoulliDistribution
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical
from torch.nn.functional import logsigmoid

from steersman.bundle.specs import ActionSpec, Distribution, NoiseSpec
from steersman.export.policies.family import Answers
from steersman.export.policies.greedy import greedy_actions
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.segments import (
    Segments,
    as_actions,
    best_choices,
    from_sb3,
    margins,
    masked_scores,
    negative_gumbel,
    segment_widths,
    split,
)
from steersman.export.reading.spaces import AnySpace

Array = NDArray[Any]
_TINY = 2.0**-53
"""In place of 0, which torch may draw and whose logarithm is infinite."""


class CategoricalHead(nn.Module):
    """From the actor's last features to masked choices.

    Args:
        action: What is chosen.
        logits: The last layer. Where it gives one logit per switch, that is the pair [0, logit].
    """

    def __init__(self, action: ActionSpec, logits: nn.Module, *, paired: bool) -> None:
        super().__init__()
        self.segments, self.logits, self.paired = Segments(action), logits, paired

    def forward(self, latent: Tensor, action_mask: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Maps [N, L], action_mask [N, W] and noise [N, W] in (0, 1) to outputs by name."""
        logits = self.logits(latent)
        if self.paired:
            logits = nn.functional.pad(logits.unsqueeze(-1), (1, 0)).flatten(1)
        segments = self.segments
        scores = segments.masked(logits, action_mask)
        log_probs = torch.log_softmax(scores, dim=-1)
        drawn, log_prob = segments.draw(log_probs, segments.grid(negative_gumbel(noise), 0.0))
        distribution = segments.flat(log_probs)
        finite = distribution.clamp(min=torch.finfo(torch.float32).min)  # 0 times minus infinity is NaN
        return {
            "action": segments.best(scores),
            "sampled_action": drawn,
            "log_prob": segments.total(log_prob),
            "entropy": 0.0 - (distribution.exp() * finite).sum(dim=1),  # not minus zero
            "distribution": distribution,
        }


class CategoricalActions:
    """The question to SB3: its own distribution, masked, and noise added as Gumbel's trick has it.

    Args:
        policy: An actor-critic policy with choices.
    """

    distribution: Distribution = "categorical"
    outputs = ("action", "sampled_action", "log_prob", "entropy", "distribution")

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self.space: AnySpace = policy.action_space
        self.widths = segment_widths(self.space)
        self.noise = NoiseSpec(law="uniform", width=sum(self.widths))

    @property
    def inside(self) -> tuple[str, ...]:
        """What the head does, for people."""
        step = "apply the mask before arg-max and softmax"
        if isinstance(self.space, spaces.Discrete) and self.space.start:
            return step, f"count choices from {self.space.start}"
        return (step,)

    def head(self, action: ActionSpec) -> nn.Module:
        """The end of the graph."""
        paired = isinstance(self.policy.action_dist, BernoulliDistribution)
        return CategoricalHead(action, copy.deepcopy(self.policy.action_net), paired=paired)

    def as_environment(self, predicted: Array) -> Array:
        """What `predict` gives, as the environment takes it."""
        return from_sb3(predicted, self.space)

    def act(self, own: Any, action_mask: NDArray[np.bool_], *, sampled: bool) -> Array:
        """Actions under a mask that `predict` does not take."""
        log_probs = masked_scores(_log_probs(own), action_mask)
        if sampled:
            noise = torch.rand(log_probs.shape, dtype=torch.float64).clamp(min=_TINY).numpy()
            return as_actions(best_choices(_perturbed(log_probs, noise), self.widths), self.space)
        return as_actions(best_choices(log_probs, self.widths), self.space)

    def answer(self, own: Any, predicted: Array, inputs: Inputs) -> Answers:
        """Every output of the head.

        Args:
            own: SB3's distribution, without a mask.
            predicted: What `predict` answers; it counts where the mask allows everything.
            inputs: The mask and the noise.
        """
        scores = masked_scores(_log_probs(own), inputs.action_mask)
        parts: list[Any] = [
            Categorical(logits=torch.from_numpy(p), validate_args=False) for p in split(scores, self.widths)
        ]
        log_probs = torch.cat([part.logits for part in parts], dim=1).numpy()
        assert inputs.noise is not None  # noqa: S101  every choice is drawn with noise
        perturbed = _perturbed(log_probs, inputs.noise)
        sampled = best_choices(perturbed, self.widths)
        drawn = torch.from_numpy(np.maximum(sampled, 0)).unbind(1)
        outputs = {
            "action": greedy_actions(predicted, scores, inputs.action_mask, self.space),
            "sampled_action": as_actions(sampled, self.space),
            "log_prob": _total([part.log_prob(k) for part, k in zip(parts, drawn, strict=True)]),
            "entropy": _total([part.entropy() for part in parts]),
            "distribution": log_probs,
        }
        return Answers(outputs, margins(log_probs, self.widths), margins(perturbed, self.widths))


def _log_probs(own: Any) -> Array:
    """[N, W] log probabilities of SB3's distribution; of a switch, those of off and on."""
    inner = getattr(own, "distributions", None) or own.distribution
    if isinstance(inner, Bernoulli):
        pairs = torch.stack([logsigmoid(-inner.logits), logsigmoid(inner.logits)], dim=-1)
        return pairs.flatten(1).numpy()
    parts = inner if isinstance(inner, list) else [inner]
    return torch.cat([part.logits for part in parts], dim=1).numpy()


def _perturbed(log_probs: Array, uniforms: Array) -> NDArray[np.float64]:
    """With Gumbel noise added; see `segments.negative_gumbel`."""
    return np.asarray(log_probs.astype(np.float64) - np.log(-np.log(uniforms.astype(np.float64))))


def _total(parts: list[Tensor]) -> Array:
    return torch.stack(parts, dim=1).sum(dim=1).numpy()
