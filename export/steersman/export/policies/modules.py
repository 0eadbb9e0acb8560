"""The policy as one torch module whose inputs and outputs are the graph's.

The arithmetic of the distributions is written out: `torch.distributions` validates its arguments in ways
that cannot be traced, and a mask must act before arg-max and softmax.
"""

from __future__ import annotations

import math

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from steersman.export.policies.alignment import in_whole_packets, row_sums, with_aligned_activations
from steersman.export.reading.load import SavedPolicy
from steersman.export.reading.normalizer import Normalizer

Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""Action, sampled action, log probability, entropy, distribution and value."""

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def policy_module(saved: SavedPolicy, normalizer: Normalizer | None) -> nn.Module:
    """The module whose graph is exported."""
    reader = ObservationReader(normalizer)
    networks = Networks(saved.policy)
    if isinstance(saved.action_space, spaces.Discrete):
        return CategoricalGraph(reader, networks, int(saved.action_space.start)).eval()
    return GaussianGraph(reader, networks, saved.policy.log_std, saved.action_space).eval()


class ObservationReader(nn.Module):
    """Raw observations [N, *shape] to float32 rows, normalized in float64 as VecNormalize does."""

    mean: Tensor
    scale: Tensor

    def __init__(self, normalizer: Normalizer | None) -> None:
        super().__init__()
        self.clip = normalizer.clip if normalizer else None
        if normalizer:
            self.register_buffer("mean", torch.from_numpy(normalizer.mean.copy()))
            self.register_buffer("scale", torch.from_numpy(normalizer.scale.copy()))

    def forward(self, obs: Tensor) -> Tensor:
        """Maps [N, *shape] of any number type to [N, K] float32."""
        if self.clip is not None:
            obs = torch.clip((obs.double() - self.mean) / self.scale, -self.clip, self.clip)
        return obs.float().flatten(1)


class Networks(nn.Module):
    """Actor and critic of an SB3 actor-critic policy, without its preprocessing."""

    def __init__(self, policy: ActorCriticPolicy) -> None:
        super().__init__()
        self.extractor = with_aligned_activations(policy.mlp_extractor)
        self.action_net = policy.action_net
        self.value_net = policy.value_net

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Maps [N, K] to the distribution's parameters [N, P] and values [N]."""
        latent_pi, latent_vf = self.extractor(rows)
        return self.action_net(latent_pi), self.value_net(latent_vf).flatten()


class CategoricalGraph(nn.Module):
    """One choice out of n, with a mask and sampling by Gumbel's trick."""

    def __init__(self, reader: ObservationReader, networks: Networks, start: int) -> None:
        super().__init__()
        self.reader, self.networks, self.start = reader, networks, start

    def forward(self, obs: Tensor, action_mask: Tensor, noise: Tensor) -> Outputs:
        """Maps obs [N, *shape], action_mask [N, n] and noise [N, n] in (0, 1) to the outputs."""
        logits, value = self.networks(self.reader(obs))
        logits = torch.where(action_mask, logits, torch.tensor(-math.inf))
        log_probs = torch.log_softmax(logits, dim=1)
        sampled = torch.argmax(log_probs.double() + gumbel(noise), dim=1, keepdim=True)
        plogp = torch.where(action_mask, log_probs.exp() * log_probs, torch.tensor(0.0))
        return (
            torch.argmax(logits, dim=1) + self.start,
            sampled.flatten() + self.start,
            log_probs.gather(1, sampled).flatten(),
            0.0 - row_sums(plogp),  # not minus zero
            log_probs,
            value,
        )


class GaussianGraph(nn.Module):
    """Continuous actions from a diagonal Gaussian, clipped to their bounds."""

    log_std: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self, reader: ObservationReader, networks: Networks, log_std: Tensor, space: spaces.Box
    ) -> None:
        super().__init__()
        self.reader, self.networks, self.shape = reader, networks, space.shape
        self.register_buffer("log_std", log_std.detach().clone())
        self.register_buffer("low", torch.from_numpy(space.low.copy()))
        self.register_buffer("high", torch.from_numpy(space.high.copy()))

    def forward(self, obs: Tensor, noise: Tensor) -> Outputs:
        """Maps obs [N, *shape] and standard normal noise [N, d] to the outputs."""
        mean, value = self.networks(self.reader(obs))
        log_std = self.log_std.expand_as(mean)
        log_prob = -0.5 * noise * noise - log_std - _HALF_LOG_TWO_PI
        return (
            self._clipped(mean),
            self._clipped(mean + log_std.exp() * noise),
            row_sums(log_prob),
            row_sums(log_std + 0.5 + _HALF_LOG_TWO_PI),
            torch.cat([mean, log_std], dim=1),
            value,
        )

    def _clipped(self, flat: Tensor) -> Tensor:
        actions = flat.reshape(-1, *self.shape).to(self.low.dtype)
        return torch.minimum(torch.maximum(actions, self.low), self.high)


def gumbel(uniforms: Tensor) -> Tensor:
    """Standard Gumbel noise in float64 from uniforms in (0, 1): arg-max of log p + g is a draw from p.

    Gumbel 1954; Maddison, Tarlow, Minka: A* Sampling, NeurIPS 2014, section 2.
    """
    return in_whole_packets(lambda u: -torch.log(-torch.log(u)), uniforms.double(), 0.5)
