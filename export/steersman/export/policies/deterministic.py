"""TD3, DDPG and ARS: one action for each observation, without a distribution.

ARS has continuous actions, squashed by tanh or clipped, or picks the choice with the highest output.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.ars.policies import ARSPolicy
from torch import Tensor, nn

from steersman.bundle.specs import ActionSpec, BoxAction
from steersman.export.policies.boxes import ClippedToBox, ScaledToBox, delivered_type
from steersman.export.policies.family import Acted, Answers, Traits
from steersman.export.policies.greedy import greedy_actions, greedy_steps
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.networks import exportable
from steersman.export.policies.preparation import Preparation
from steersman.export.policies.preprocessed import takes_preprocessed
from steersman.export.policies.reader import ObservationReader, reader_of
from steersman.export.policies.segments import Segments, margins, masked_scores, segment_widths
from steersman.export.reading.load import SavedPolicy

Array = NDArray[Any]


class Deterministic:
    """A TD3, DDPG or ARS policy."""

    def __init__(self, saved: SavedPolicy) -> None:
        self.policy: Any = saved.policy
        self.space: Any = saved.action_space
        self.widths = segment_widths(saved.action_space)

    @property
    def traits(self) -> Traits:
        """Nothing but the action."""
        steps: tuple[str, ...] = ("rescale the action from [-1, 1] to its bounds",)
        if not self.policy.squash_output:
            steps = greedy_steps(self.space) if self.widths else ("clip the action to its bounds",)
        return Traits(distribution="deterministic", outputs=("action",), inside=steps)

    def graph(self, preparation: Preparation, action: ActionSpec) -> nn.Module:
        """Takes observations, and action_mask where the actions are choices; gives action."""
        reader, network = reader_of(self.policy, preparation), self._network()
        if not isinstance(action, BoxAction):
            return ChoiceGraph(reader, network, Segments(action)).eval()
        box = ScaledToBox(action, self.space) if self.policy.squash_output else ClippedToBox(action)
        return BoxGraph(reader, network, box).eval()

    def act(self, prepared: Any, inputs: Inputs, *, sampled: bool) -> Acted:  # noqa: ARG002  there is one way
        """By `policy.predict`, or by the masked outputs where a mask forbids a choice."""
        return Acted(self.answer(prepared, inputs).outputs["action"])

    def answer(self, prepared: Any, inputs: Inputs) -> Answers:
        """As `act`."""
        predicted, _ = self.policy.predict(prepared, deterministic=True)
        unlimited = np.full(len(inputs), np.inf)
        if not self.widths:
            delivered = predicted.astype(delivered_type(self.space))
            return Answers({"action": delivered}, unlimited, unlimited)
        scores = masked_scores(self._outputs(prepared), inputs.action_mask)
        action = greedy_actions(predicted, scores, inputs.action_mask, self.space)
        return Answers({"action": action}, margins(scores, self.widths), unlimited)

    def _network(self) -> nn.Module:
        """From preprocessed observations to the outputs of the last layer, squashed where SB3 squashes."""
        if isinstance(self.policy, ARSPolicy):  # its own `forward` ends in arg-max, without a mask
            parts = exportable(self.policy, ("features_extractor", "action_net"))
            return nn.Sequential(*parts.values())
        actor: nn.Module = takes_preprocessed(self.policy, "actor")
        return actor

    def _outputs(self, prepared: Any) -> Array:
        """What an ARS policy with choices takes the arg-max of, [N, n]."""
        with torch.no_grad():
            observations, _ = self.policy.obs_to_tensor(prepared)
            features = self.policy.extract_features(observations, self.policy.features_extractor)
            outputs: Tensor = self.policy.action_net(features)
        return outputs.numpy()


class BoxGraph(nn.Module):
    """Continuous actions."""

    def __init__(self, reader: ObservationReader, network: nn.Module, box: nn.Module) -> None:
        super().__init__()
        self.reader, self.network, self.box = reader, network, box

    def forward(self, *observations: Tensor) -> Tensor:
        """Maps the observations to actions [N, *shape]."""
        action: Tensor = self.box(self.network(self.reader(*observations)))
        return action


class ChoiceGraph(nn.Module):
    """Arg-max of masked outputs."""

    def __init__(self, reader: ObservationReader, network: nn.Module, segments: Segments) -> None:
        super().__init__()
        self.reader, self.network, self.segments = reader, network, segments

    def forward(self, *inputs: Tensor) -> Tensor:
        """Maps the observations and action_mask [N, n] to actions [N]."""
        *observations, action_mask = inputs
        masked = self.segments.masked(self.network(self.reader(*observations)), action_mask)
        actions: Tensor = self.segments.best(masked)
        return actions
