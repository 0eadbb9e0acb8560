"""DQN and QR-DQN: the graph against SB3's own networks and `predict`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sb3_contrib import QRDQN
from stable_baselines3 import DQN
from stable_baselines3.common.torch_layers import CombinedExtractor
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import nn

from steersman.export.policies.inputs import Inputs
from unit.export.policies.cases import Case, assert_case, each, made_of, masked, named, unmasked


class Dueling(QNetwork):
    """A user's own network, whose last layer gives the value and the advantages."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.value = nn.Linear(self.features_dim, 1)

    def forward(self, obs: Any) -> Any:
        features = self.extract_features(obs, self.features_extractor)
        advantages = self.q_net(features)
        return self.value(features) + advantages - advantages.mean(dim=1, keepdim=True)


class DuelingPolicy(DQNPolicy):
    def make_q_net(self) -> QNetwork:
        return Dueling(**self._update_features_extractor(self.net_args))


SMALL = {"net_arch": [16]}
CNN = {"features_extractor_kwargs": {"features_dim": 16}}
OWN = {"features_extractor_class": CombinedExtractor}
ODD = {"net_arch": [13, 7], "activation_fn": nn.ELU}
CASES = (
    Case("DQN", DQN, action="five"),
    Case("DQN, shifted choices, ELU", DQN, action="shifted", policy_kwargs=ODD, exported=True),
    Case("DQN, one choice, no hidden layer", DQN, action="only", policy_kwargs={"net_arch": []}),
    Case("DQN, image", DQN, "image", "five", "CnnPolicy", CNN),
    Case("DQN, Dict", DQN, "mixed", "five", policy_kwargs=SMALL),
    Case("DQN, Discrete observations", DQN, "choice", "five", policy_kwargs=SMALL),
    Case("DQN, MultiDiscrete observations", DQN, "choices", "five", policy_kwargs=SMALL),
    Case("DQN, MultiBinary observations", DQN, "switches", "five", policy_kwargs=SMALL),
    Case("QR-DQN", QRDQN, action="five"),
    Case("QR-DQN, shifted choices", QRDQN, action="shifted", policy_kwargs={"n_quantiles": 7}, exported=True),
    Case(
        "QR-DQN, no hidden layer", QRDQN, "double", "five", policy_kwargs={"net_arch": [], "n_quantiles": 25}
    ),
    Case("QR-DQN, image", QRDQN, "image", "five", "CnnPolicy", CNN),
    Case("QR-DQN, Dict", QRDQN, "mixed", "five", policy_kwargs=SMALL),
    Case("own network", DQN, "camera and speed", "five", DuelingPolicy, OWN, exported=True),
)


@each(CASES)
def test_greedy_actions_are_those_of_predict(case: Case) -> None:
    made = made_of(case)
    inputs = unmasked(made, case.rows)
    found = made.compute(inputs)["action"]
    predicted, _ = made.policy.predict(made.preparation(inputs.observations), deterministic=True)
    clear = made.ask(inputs).margin > 1e-5
    assert clear.mean() > 0.99
    assert (found == predicted + made.policy.action_space.start)[clear].all()


@each(CASES)
def test_every_output_is_that_of_sb3(case: Case) -> None:
    made = made_of(case)
    assert made.contract.outputs == ("action", "distribution", "value")
    assert made.contract.noise is None
    assert_case(case)


@pytest.mark.parametrize("name", ["DQN, shifted choices, ELU", "QR-DQN, shifted choices"])
def test_the_value_is_the_best_that_the_mask_allows(name: str) -> None:
    made = named(CASES, name)
    inputs = made.inputs()
    found, everything = made.compute(inputs), made.compute(masked(inputs, np.True_))
    assert inputs.action_mask is not None
    allowed = np.where(inputs.action_mask, everything["distribution"], -np.inf)
    np.testing.assert_array_equal(found["distribution"], allowed)
    np.testing.assert_array_equal(found["value"], allowed.max(axis=1))
    np.testing.assert_array_equal(found["action"], allowed.argmax(axis=1) - 1)
    assert (found["action"] != everything["action"]).any()


@pytest.mark.parametrize("name", ["DQN", "QR-DQN, shifted choices"])
def test_without_an_allowed_choice_there_is_none(name: str) -> None:
    made = named(CASES, name)
    inputs = masked(made.inputs(), np.False_)
    none = made.policy.action_space.start - 1
    for outputs in (made.compute(inputs), made.ask(inputs).outputs):
        assert (outputs["action"] == none).all()
        assert np.isneginf(outputs["distribution"]).all()
        assert np.isneginf(outputs["value"]).all()
    assert (
        made.family.act(made.preparation(inputs.observations), inputs, sampled=False).actions == none
    ).all()


@pytest.mark.parametrize("name", ["DQN", "QR-DQN, shifted choices"])
def test_acting_obeys_the_mask(name: str) -> None:
    made = named(CASES, name)
    inputs = made.inputs()
    prepared = made.preparation(inputs.observations)
    masked = made.family.act(prepared, inputs, sampled=False).actions
    free = made.family.act(prepared, Inputs(inputs.observations), sampled=False).actions
    assert inputs.action_mask is not None
    assert inputs.action_mask[np.arange(len(inputs)), masked - made.policy.action_space.start].all()
    np.testing.assert_array_equal(free[::2], masked[::2])  # every other row has no mask of its own
    assert (free != masked).any()


def test_quantiles_cost_no_more_than_values() -> None:
    """Their mean is taken of the weights, once."""
    sizes = [
        sum(weights.numel() for weights in named(CASES, name).module.parameters())
        for name in ("DQN, Dict", "QR-DQN, Dict")
    ]
    assert sizes[0] == sizes[1]
