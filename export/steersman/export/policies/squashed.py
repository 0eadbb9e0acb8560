"""SAC, TQC and CrossQ: a Gaussian squashed by tanh, its spread given by the network or by gSDE."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steersman.bundle.specs import ActionSpec, BoxAction, Distribution, NoiseSpec
from steersman.export.policies.actor_critic import refresh_noise
from steersman.export.policies.boxes import ScaledToBox
from steersman.export.policies.continuous import (
    BoxActions,
    StateDependentActions,
    centred_gaussian,
)
from steersman.export.policies.family import Acted, Answers, Traits
from steersman.export.policies.gaussians import gaussian_log_prob, squash_log_det
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.preparation import Preparation
from steersman.export.policies.preprocessed import takes_preprocessed
from steersman.export.policies.reader import ObservationReader, reader_of
from steersman.export.reading.load import SavedPolicy

Array = NDArray[Any]
OUTPUTS = ("action", "sampled_action", "log_prob", "distribution")
"""The entropy has no closed form, and none of the three algorithms estimates V."""


class SquashedGaussian:
    """The family of policies with a squashed actor."""

    def __init__(self, saved: SavedPolicy) -> None:
        self.policy: Any = saved.policy
        self.actor: Any = self.policy.actor

    @cached_property
    def kind(self) -> StateDependentActions | SquashedActions:
        """What depends on how the spread comes about."""
        return StateDependentActions(self.actor) if self.actor.use_sde else SquashedActions(self.actor)

    @cached_property
    def traits(self) -> Traits:
        """Its part of the contract."""
        return Traits(self.kind.distribution, OUTPUTS, self.kind.noise, inside=self.kind.inside)

    def graph(self, preparation: Preparation, action: ActionSpec) -> nn.Module:
        """The module to export."""
        assert isinstance(action, BoxAction)  # noqa: S101  these policies are built for nothing else
        refresh_noise(self.actor, 1)  # matrices of a fresh policy hang on its gradients and cannot be copied
        reader, actor = reader_of(self.policy, preparation), takes_preprocessed(self.policy, "actor")
        if isinstance(self.kind, StateDependentActions):
            return StateDependentGraph(reader, actor, self.kind.head_of(action, actor.mu)).eval()
        box = ScaledToBox(action, self.policy.action_space)
        return SquashedGraph(reader, actor, SquashedHead(box)).eval()

    def act(self, prepared: Any, inputs: Inputs, *, sampled: bool) -> Acted:
        """By `policy.predict`; with gSDE every row is drawn with a matrix of its own."""
        if sampled:
            refresh_noise(self.actor, len(inputs))
        return Acted(self.kind.as_environment(self._predict(prepared, sampled=sampled)))

    def answer(self, prepared: Any, inputs: Inputs) -> Answers:
        """By the actor's own parameters and distribution object."""
        predicted = self._predict(prepared, sampled=False)
        with torch.no_grad():
            observations, _ = self.policy.obs_to_tensor(prepared)
            mean, log_std, extra = self.actor.get_action_dist_params(observations)
            own = copy.copy(self.actor.action_dist).proba_distribution(mean, log_std, **extra)
            return self.kind.answer(own, predicted, inputs)

    def _predict(self, prepared: Any, *, sampled: bool) -> Array:
        actions: Array = self.policy.predict(prepared, deterministic=not sampled)[0]
        return actions


class SquashedActions(BoxActions):
    """The question to SB3 about a Gaussian whose spread the network gives."""

    distribution: Distribution = "squashed_gaussian"
    inside = ("squash by tanh, rescale to the bounds",)

    @property
    def noise(self) -> NoiseSpec:
        """One normal for each element."""
        return NoiseSpec(law="normal", width=int(np.prod(self.space.shape)))

    def answer(self, own: Any, predicted: Array, inputs: Inputs) -> Answers:
        """Every output of the head, by SB3's distribution object.

        In float64 and about 0: its `log_prob` loses digits where tanh nears 1, and where the mean is large
        beside the spread. The graph keeps them.
        """
        mean, deviation, centred = centred_gaussian(own, inputs.noise)
        squashed = torch.tanh(mean + deviation)
        return self._answers(predicted, own, squashed, centred.log_prob(squashed, deviation))


class SquashedGraph(nn.Module):
    """Observations to outputs: reader, actor, head."""

    def __init__(self, reader: ObservationReader, actor: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.reader, self.head = reader, head
        self.actor: Any = actor

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps the observations and noise [N, K] to the outputs."""
        *observations, noise = inputs
        mean, log_std, _ = self.actor.get_action_dist_params(self.reader(*observations))
        outputs = self.head(mean, log_std, noise)
        return tuple(outputs[name] for name in OUTPUTS)


class StateDependentGraph(SquashedGraph):
    """The same with gSDE, whose head takes the actor's last features and noise [N, L * K]."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps the observations and noise to the outputs."""
        *observations, noise = inputs
        _, _, extra = self.actor.get_action_dist_params(self.reader(*observations))
        outputs = self.head(extra["latent_sde"], noise)
        return tuple(outputs[name] for name in OUTPUTS)


class SquashedHead(nn.Module):
    """From the Gaussian's parameters to actions within their bounds."""

    def __init__(self, to_box: nn.Module) -> None:
        super().__init__()
        self.to_box = to_box

    def forward(self, mean: Tensor, log_std: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Maps three times [N, K] to outputs by name."""
        gaussian = mean + log_std.exp() * noise
        return {
            "action": self.to_box(mean.tanh()),
            "sampled_action": self.to_box(gaussian.tanh()),
            "log_prob": gaussian_log_prob(noise, log_std) - squash_log_det(gaussian),
            "distribution": torch.cat([mean, log_std], dim=1),
        }
