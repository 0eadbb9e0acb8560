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
from steersman.export.policies.alignment import with_aligned_activations
from steersman.export.policies.boxes import ClippedToBox, ScaledToBox
from steersman.export.policies.family import Acted, Answers, Traits
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.networks import exportable
from steersman.export.policies.preparation import Preparation
from steersman.export.policies.preprocessed import takes_preprocessed
from steersman.export.policies.reader import ObservationReader
from steersman.export.policies.segments import (
    Segments,
    as_actions,
    best_choices,
    from_sb3,
    margins,
    masked_scores,
    segment_widths,
)
from steersman.export.reading.load import SavedPolicy

Array = NDArray[Any]


class Deterministic:
    """A TD3, DDPG or ARS policy."""

    def __init__(self, saved: SavedPolicy) -> None:
        self._saved = saved
        self._policy: Any = saved.policy
        self._space = saved.action_space
        self._widths = segment_widths(saved.action_space)

    @property
    def traits(self) -> Traits:
        """Nothing but the action."""
        if self._widths:
            step = "apply the mask before arg-max"
        elif self._policy.squash_output:
            step = "rescale the action from [-1, 1] to its bounds"
        else:
            step = "clip the action to its bounds"
        return Traits(distribution="deterministic", outputs=("action",), inside=(step,))

    def graph(self, preparation: Preparation, action: ActionSpec) -> nn.Module:
        """Takes observations, and action_mask where the actions are choices; gives action."""
        reader = ObservationReader(
            preparation, self._saved.observation_space, normalize_images=self._policy.normalize_images
        )
        if not isinstance(action, BoxAction):
            return ChoiceGraph(reader, self._network(), Segments(action)).eval()
        box = ScaledToBox(action) if self._policy.squash_output else ClippedToBox(action)
        return BoxGraph(reader, self._network(), box).eval()

    def act(self, prepared: Any, inputs: Inputs, *, sampled: bool) -> Acted:  # noqa: ARG002  there is one way
        """By `policy.predict`, or by the masked outputs where a mask forbids a choice."""
        return Acted(self._action(prepared, self._scores(prepared, inputs), inputs.action_mask))

    def answer(self, prepared: Any, inputs: Inputs) -> Answers:
        """As `act`."""
        scores = self._scores(prepared, inputs)
        action = self._action(prepared, scores, inputs.action_mask)
        unlimited = np.full(len(inputs), np.inf)
        margin = unlimited if scores is None else margins(scores, self._widths)
        return Answers({"action": action}, margin, unlimited)

    def _network(self) -> nn.Module:
        """From preprocessed observations to the outputs of the last layer, squashed where SB3 squashes."""
        if isinstance(self._policy, ARSPolicy):  # its own `forward` ends in arg-max, without a mask
            parts = exportable(self._policy, ("features_extractor", "action_net"))
            return with_aligned_activations(nn.Sequential(*parts.values()))
        return takes_preprocessed(self._policy, "actor")

    def _scores(self, prepared: Any, inputs: Inputs) -> Array | None:
        """Masked outputs [N, n] of an ARS policy with choices; None for a Box."""
        if not self._widths:
            return None
        with torch.no_grad():
            observations, _ = self._policy.obs_to_tensor(prepared)
            features = self._policy.extract_features(observations, self._policy.features_extractor)
            outputs: Tensor = self._policy.action_net(features)
        return masked_scores(outputs.numpy(), inputs.action_mask)

    def _action(self, prepared: Any, scores: Array | None, action_mask: NDArray[np.bool_] | None) -> Array:
        predicted = self._policy.predict(prepared, deterministic=True)[0]
        if scores is None:
            return np.asarray(predicted, self._space.dtype)
        unmasked = from_sb3(predicted, self._space)
        if action_mask is None:
            return unmasked
        masked = as_actions(best_choices(scores, self._widths), self._space)
        return np.where(action_mask.all(axis=1), unmasked, masked)


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
        return self.segments.actions(self.segments.best(masked))
