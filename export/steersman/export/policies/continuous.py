"""Continuous actions of actor-critics: a Gaussian with its own spread, or one that depends on the state."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.distributions import TanhBijector
from torch import Tensor, nn

from steersman.bundle.specs import ActionSpec, BoxAction, Distribution, NoiseSpec
from steersman.export.policies.boxes import ClippedToBox, ScaledToBox, delivered_type
from steersman.export.policies.family import Answers
from steersman.export.policies.gaussians import gaussian_entropy, gaussian_log_prob, squash_log_det
from steersman.export.policies.inputs import Inputs

Array = NDArray[Any]


class GaussianHead(nn.Module):
    """From the actor's last features to actions with a spread of their own, clipped to the bounds."""

    log_std: Tensor

    def __init__(self, action: BoxAction, mean: nn.Module, log_std: Tensor) -> None:
        super().__init__()
        self.mean, self.to_box = mean, ClippedToBox(action)
        self.register_buffer("log_std", log_std.detach().clone())

    def forward(self, latent: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Maps [N, L] and standard normal noise [N, K] to outputs by name."""
        mean = self.mean(latent)
        log_std = self.log_std.expand_as(mean)
        return {
            "action": self.to_box(mean),
            "sampled_action": self.to_box(mean + log_std.exp() * noise),
            "log_prob": gaussian_log_prob(noise, log_std),
            "entropy": gaussian_entropy(log_std),
            "distribution": torch.cat([mean, log_std], dim=1),
        }


class StateDependentHead(nn.Module):
    """gSDE: noise that is a function of the state (Raffin et al. 2021), optionally squashed by tanh.

    Args:
        to_box: From Gaussians or their tanh to actions.
        mean: The last layer.
        std: [L, K] spread of the exploration matrix, as SB3's `get_std` gives it.
        epsilon: Added to the variance.
        squashed: Whether tanh and rescaling follow, in place of clipping.
    """

    std: Tensor
    variance: Tensor

    def __init__(
        self, to_box: nn.Module, mean: nn.Module, std: Tensor, *, epsilon: float, squashed: bool
    ) -> None:
        super().__init__()
        self.to_box, self.mean, self.epsilon, self.squashed = to_box, mean, epsilon, squashed
        self.register_buffer("std", std)
        self.register_buffer("variance", std**2)

    def forward(self, latent: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Maps [N, L] and standard normal noise [N, L * K] to outputs by name."""
        mean = self.mean(latent)
        variance = torch.mm(latent * latent, self.variance) + self.epsilon
        log_std = 0.5 * variance.log()
        matrices = noise.reshape(-1, *self.std.shape) * self.std
        moved = torch.matmul(latent.unsqueeze(1), matrices).squeeze(1)
        sampled = mean + moved
        log_prob = gaussian_log_prob(moved / variance.sqrt(), log_std)
        outputs = {
            "action": self._act(mean),
            "sampled_action": self._act(sampled),
            "log_prob": log_prob - squash_log_det(sampled) if self.squashed else log_prob,
            "distribution": torch.cat([mean, log_std], dim=1),
        }
        return outputs if self.squashed else outputs | {"entropy": gaussian_entropy(log_std)}

    def _act(self, gaussian: Tensor) -> Tensor:
        action: Tensor = self.to_box(gaussian.tanh() if self.squashed else gaussian)
        return action


class BoxActions:
    """The question to SB3 about actions of a Box.

    Args:
        policy: An actor-critic policy, or an actor, with continuous actions.
    """

    outputs: tuple[str, ...] = ("action", "sampled_action", "log_prob", "entropy", "distribution")

    def __init__(self, policy: Any) -> None:
        self.policy, self.space = policy, policy.action_space

    def as_environment(self, predicted: Array) -> Array:
        """What `predict` gives, in the contract's type."""
        return predicted.astype(delivered_type(self.space))

    def _answers(self, predicted: Array, own: Any, sampled: Tensor, log_prob: Tensor) -> Answers:
        """By the names of the outputs: SB3's distribution, an action in policy space and its density."""
        gaussian, entropy = own.distribution, own.entropy()
        outputs = {
            "action": self.as_environment(predicted),
            "sampled_action": self._delivered(sampled.float().numpy()),
            "log_prob": log_prob.float().numpy(),
            "distribution": torch.cat([gaussian.mean, gaussian.stddev.log()], dim=1).numpy(),
        }
        outputs |= {} if entropy is None else {"entropy": entropy.numpy()}
        nothing_to_choose = np.full(len(predicted), np.inf)
        return Answers(outputs, nothing_to_choose, nothing_to_choose)

    def _delivered(self, sampled: Array) -> Array:
        """The end of `BasePolicy.predict`."""
        shaped = sampled.reshape(-1, *self.space.shape)
        if self.policy.squash_output:
            return self.as_environment(self.policy.unscale_action(shaped))
        return self.as_environment(np.clip(shaped, self.space.low, self.space.high))


class GaussianActions(BoxActions):
    """The question to SB3 about a diagonal Gaussian."""

    distribution: Distribution = "gaussian"
    inside: tuple[str, ...] = ("clip the action to its bounds",)

    @property
    def noise(self) -> NoiseSpec:
        """One normal for each element."""
        return NoiseSpec(law="normal", width=int(np.prod(self.space.shape)))

    def head(self, action: ActionSpec) -> nn.Module:
        """The end of the graph."""
        assert isinstance(action, BoxAction)  # noqa: S101  the kind is chosen by the space
        return GaussianHead(action, copy.deepcopy(self.policy.action_net), self.policy.log_std)

    def answer(self, own: Any, predicted: Array, inputs: Inputs) -> Answers:
        """Every output of the head, by SB3's distribution object.

        Densities in float64 and about 0: where the mean is large beside the spread, the difference of an
        action from it has lost digits that the graph keeps.
        """
        mean, deviation, centred = centred_gaussian(own, inputs.noise)
        return self._answers(predicted, own, mean + deviation, centred.log_prob(deviation))


def centred_gaussian(own: Any, noise: NDArray[np.float32] | None) -> tuple[Tensor, Tensor, Any]:
    """Mean and deviation from it, in float64, and SB3's distribution of the deviation alone."""
    assert noise is not None  # noqa: S101  every Gaussian is drawn with noise
    mean, std = own.distribution.mean.double(), own.distribution.stddev.double()
    centred = copy.copy(own).proba_distribution(torch.zeros_like(mean), std.log())
    return mean, std * torch.from_numpy(noise), centred


class _RememberingTanh(TanhBijector):
    """SB3 squashes and then undoes it, as far as float64 can tell from 1; this one remembers."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        self.gaussian = x
        return torch.tanh(x)

    def inverse(self, y: Tensor) -> Tensor:  # type: ignore[override]  # noqa: ARG002  there is one answer
        return self.gaussian


class StateDependentActions(BoxActions):
    """The question to SB3 about gSDE."""

    def __init__(self, policy: Any) -> None:
        super().__init__(policy)
        self.squashed = bool(policy.squash_output)
        if self.squashed:
            self.outputs = (
                "action",
                "sampled_action",
                "log_prob",
                "distribution",
            )  # SB3 has no entropy there
        with torch.no_grad():
            self.std = policy.action_dist.get_std(policy.log_std)

    @property
    def distribution(self) -> Distribution:
        """What the output `distribution` holds."""
        return "squashed_gaussian" if self.squashed else "gaussian"

    @property
    def noise(self) -> NoiseSpec:
        """One normal for each entry of the exploration matrix, which training keeps for many steps."""
        return NoiseSpec(law="normal", width=self.std.numel(), scope="episode")

    @property
    def inside(self) -> tuple[str, ...]:
        """What the head does, for people."""
        explore = "explore by a linear function of the last features (gSDE)"
        return (
            explore,
            "squash by tanh, rescale to the bounds" if self.squashed else "clip the action to its bounds",
        )

    def head(self, action: ActionSpec) -> nn.Module:
        """The end of the graph."""
        assert isinstance(action, BoxAction)  # noqa: S101  the kind is chosen by the space
        return self.head_of(action, self.policy.action_net)

    def head_of(self, action: BoxAction, mean: nn.Module) -> StateDependentHead:
        """The end of the graph with a last layer of any name."""
        return StateDependentHead(
            ScaledToBox(action, self.space) if self.squashed else ClippedToBox(action),
            copy.deepcopy(mean),
            self.std.clone(),
            epsilon=self.policy.action_dist.epsilon,
            squashed=self.squashed,
        )

    def answer(self, own: Any, predicted: Array, inputs: Inputs) -> Answers:
        """Every output of the head, by SB3's distribution object with the noise in its exploration matrices.

        Samples and densities in float64, and without undoing tanh, which loses all digits where it nears 1.
        """
        wide = copy.copy(own)
        mean, std = own.distribution.mean.double(), own.distribution.stddev.double()
        wide.distribution = torch.distributions.Normal(mean, std)
        wide._latent_sde = own._latent_sde.double()  # noqa: SLF001  nothing public gives or takes it
        if self.squashed:
            wide.bijector = _RememberingTanh(own.bijector.epsilon)
        assert inputs.noise is not None  # noqa: S101  every Gaussian is drawn with noise
        noise = torch.from_numpy(inputs.noise).double().reshape(-1, *self.std.shape)
        wide.exploration_matrices = noise * self.std
        wide.exploration_mat = wide.exploration_matrices[0]
        sampled = wide.sample()
        return self._answers(predicted, own, sampled, wide.log_prob(sampled))
