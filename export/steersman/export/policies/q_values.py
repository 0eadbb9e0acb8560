"""DQN and QR-DQN: the choice with the highest Q-value. There is no distribution to sample from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.qrdqn.policies import QRDQNPolicy
from torch import Tensor, nn

from steersman.bundle.specs import ActionSpec
from steersman.export.errors import UnsupportedError
from steersman.export.policies.family import Acted, Answers, Traits
from steersman.export.policies.greedy import greedy_actions, greedy_steps
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.preparation import Preparation
from steersman.export.policies.preprocessed import takes_preprocessed
from steersman.export.policies.reader import ObservationReader, reader_of
from steersman.export.policies.segments import Segments, margins, masked_scores, segment_widths
from steersman.export.reading.load import SavedPolicy

Array = NDArray[Any]


class QValues:
    """A DQN or QR-DQN policy."""

    def __init__(self, saved: SavedPolicy) -> None:
        self.policy: Any = saved.policy
        outputs = ("action", "distribution", "value")
        self.traits = Traits("q_values", outputs, inside=greedy_steps(saved.action_space))

    def graph(self, preparation: Preparation, action: ActionSpec) -> nn.Module:
        """Takes observations and action_mask; gives action, distribution and value."""
        quantiles = isinstance(self.policy, QRDQNPolicy)
        network = expectation(self.policy) if quantiles else takes_preprocessed(self.policy, "q_net")
        return QValueGraph(reader_of(self.policy, preparation), network, Segments(action)).eval()

    def act(self, prepared: Any, inputs: Inputs, *, sampled: bool) -> Acted:  # noqa: ARG002  there is one way
        """By `policy.predict`, or by the masked Q-values where a mask forbids a choice."""
        return Acted(self._greedy(prepared, self._scores(prepared, inputs), inputs))

    def answer(self, prepared: Any, inputs: Inputs) -> Answers:
        """By SB3's own network; QR-DQN's Q-value is the mean of its quantiles, as in its `_predict`."""
        scores = self._scores(prepared, inputs)
        outputs = {
            "action": self._greedy(prepared, scores, inputs),
            "distribution": scores,
            "value": scores.max(axis=1),
        }
        unsampled = np.full(len(scores), np.inf)
        return Answers(outputs, margins(scores, segment_widths(self.policy.action_space)), unsampled)

    def _scores(self, prepared: Any, inputs: Inputs) -> Array:
        """Masked Q-values [N, n]."""
        with torch.no_grad():
            observations, _ = self.policy.obs_to_tensor(prepared)
            if isinstance(self.policy, QRDQNPolicy):
                values = self.policy.quantile_net(observations).mean(dim=1)
            else:
                values = self.policy.q_net(observations)
        return masked_scores(values.numpy(), inputs.action_mask)

    def _greedy(self, prepared: Any, scores: Array, inputs: Inputs) -> Array:
        predicted, _ = self.policy.predict(prepared, deterministic=True)
        return greedy_actions(predicted, scores, inputs.action_mask, self.policy.action_space)


class QValueGraph(nn.Module):
    """Arg-max of masked Q-values."""

    def __init__(self, reader: ObservationReader, values: nn.Module, segments: Segments) -> None:
        super().__init__()
        self.reader, self.values, self.segments = reader, values, segments

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps the observations and action_mask [N, n] to action [N], Q-values [N, n] and the best [N]."""
        *observations, action_mask = inputs
        masked = self.segments.masked(self.values(self.reader(*observations)), action_mask)
        return self.segments.best(masked), masked, masked.amax(dim=1)


def expectation(policy: QRDQNPolicy) -> nn.Module:
    """The mean of a policy's quantiles, from preprocessed observations to [N, n].

    The mean of linear functions is the linear function of mean weights. That leaves out the widest layer,
    and a sum that would depend on where in memory its row lies.

    Raises:
        UnsupportedError: The network does not end in a linear layer.
    """
    network = takes_preprocessed(policy, "quantile_net")
    *layers, last = network.quantile_net
    if not isinstance(last, nn.Linear):
        raise UnsupportedError(
            f"a quantile network that ends in {type(last).__name__} is not covered", expected="Linear"
        )
    return nn.Sequential(network.features_extractor, *layers, _mean_of_groups(last, network.n_quantiles))


def _mean_of_groups(layer: nn.Linear, groups: int) -> nn.Linear:
    """A linear layer whose outputs are the means of [groups, n] outputs of another."""
    mean = nn.Linear(layer.in_features, layer.out_features // groups)
    with torch.no_grad():
        mean.weight.copy_(layer.weight.double().reshape(groups, -1, layer.in_features).mean(dim=0))
        mean.bias.copy_(layer.bias.double().reshape(groups, -1).mean(dim=0))
    return mean
