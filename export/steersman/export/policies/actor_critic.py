"""Actor-critic policies: PPO, A2C, TRPO and MaskablePPO, with any features extractor and net architecture."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.distributions import DiagGaussianDistribution, StateDependentNoiseDistribution
from torch import Tensor, nn

from steersman.bundle.specs import ActionSpec, Distribution, NoiseSpec
from steersman.export.policies.categorical import CategoricalActions
from steersman.export.policies.continuous import GaussianActions, StateDependentActions
from steersman.export.policies.family import Acted, Answers, Traits
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.networks import FeedForward
from steersman.export.policies.preparation import Preparation
from steersman.export.policies.reader import ObservationReader, reader_of
from steersman.export.reading.load import SavedPolicy

Array = NDArray[Any]


class ActionKind(Protocol):
    """What depends on the kind of distribution alone: the end of the graph, and the same by SB3's objects."""

    @property
    def distribution(self) -> Distribution:
        """What the output `distribution` holds."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the head's outputs, in order."""
        ...

    @property
    def noise(self) -> NoiseSpec:
        """What sampling takes."""
        ...

    @property
    def inside(self) -> tuple[str, ...]:
        """What the head does, for people."""
        ...

    def head(self, action: ActionSpec) -> nn.Module:
        """Maps the actor's last features, the mask where there is one, and noise to outputs by name."""
        ...

    def as_environment(self, predicted: Array) -> Array:
        """What `predict` gives, as the environment takes it."""
        ...

    def answer(self, own: Any, predicted: Array, inputs: Inputs) -> Answers:
        """The head's outputs by SB3's distribution object and by what `predict` answers."""
        ...


def kind_of(policy: Any) -> ActionKind:
    """The kind of a policy's distribution."""
    if isinstance(policy.action_dist, StateDependentNoiseDistribution):
        return StateDependentActions(policy)
    if isinstance(policy.action_dist, DiagGaussianDistribution):
        return GaussianActions(policy)
    return CategoricalActions(policy)


class ActorCritic:
    """The family of policies without memory."""

    def __init__(self, saved: SavedPolicy) -> None:
        self.policy: Any = saved.policy
        self.kind = kind_of(saved.policy)
        self.takes_mask = isinstance(saved.policy, MaskableActorCriticPolicy)

    @cached_property
    def traits(self) -> Traits:
        """Its part of the contract."""
        kind = self.kind
        return Traits(kind.distribution, (*kind.outputs, "value"), kind.noise, inside=kind.inside)

    def graph(self, preparation: Preparation, action: ActionSpec) -> nn.Module:
        """The module to export."""
        reader = reader_of(self.policy, preparation)
        return _Graph(reader, FeedForward(self.policy), self.kind.head(action), self.traits.outputs).eval()

    def act(self, prepared: Any, inputs: Inputs, *, sampled: bool) -> Acted:
        """What SB3 does; see `Family.act`."""
        refresh_noise(self.policy, len(inputs))
        if (
            inputs.action_mask is not None
            and isinstance(self.kind, CategoricalActions)
            and not self.takes_mask
        ):
            own = self._distribution(prepared)
            return Acted(self.kind.act(own, inputs.action_mask, sampled=sampled))
        return Acted(self.kind.as_environment(self._predict(prepared, inputs, sampled=sampled)))

    def answer(self, prepared: Any, inputs: Inputs) -> Answers:
        """Every output of the graph, by SB3's own objects."""
        predicted = self._predict(prepared, inputs, sampled=False)
        answers = self.kind.answer(self._distribution(prepared), predicted, inputs)
        with torch.no_grad():
            value = self.policy.predict_values(self._tensor(prepared)).flatten().numpy()
        return replace(answers, outputs={**answers.outputs, "value": value})

    def _predict(self, prepared: Any, inputs: Inputs, *, sampled: bool) -> Array:
        masks = {"action_masks": inputs.action_mask} if self.takes_mask else {}
        actions: Array = self.policy.predict(prepared, deterministic=not sampled, **masks)[0]
        return actions

    def _distribution(self, prepared: Any) -> Any:
        with torch.no_grad():
            return self.policy.get_distribution(self._tensor(prepared))

    def _tensor(self, prepared: Any) -> Any:
        return self.policy.obs_to_tensor(prepared)[0]


class _Graph(nn.Module):
    """Observations to outputs: reader, networks, head."""

    def __init__(
        self, reader: ObservationReader, networks: FeedForward, head: nn.Module, outputs: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.reader, self.networks, self.head, self.outputs = reader, networks, head, outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps the contract's inputs to its outputs."""
        observations, given = inputs[: self.reader.count], inputs[self.reader.count :]
        latent, value = self.networks(self.reader(*observations))
        outputs = {**self.head(latent, *given), "value": value}
        return tuple(outputs[name] for name in self.outputs)


def refresh_noise(policy: Any, rows: int) -> None:
    """Draws an exploration matrix for every row where the policy uses gSDE; others draw as they act."""
    if isinstance(policy.action_dist, StateDependentNoiseDistribution):
        with torch.no_grad():
            policy.reset_noise(rows)
