"""DQN and QR-DQN: the graph against SB3's own networks and `predict`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from sb3_contrib import QRDQN
from stable_baselines3 import DQN
from stable_baselines3.common.torch_layers import CombinedExtractor
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import nn

from steersman.export.policies.inputs import Inputs
from unit.export.policies.made import ACTIONS, OBSERVATIONS, Made, assert_alone, assert_same, make, sample
from unit.export.policies.off_policy import off_policy


@dataclass(frozen=True)
class Case:
    name: str
    algorithm: Any = DQN
    observation: str = "flat"
    action: str = "five"
    policy: str = ""
    policy_kwargs: dict[str, Any] = field(default_factory=dict)


SMALL = {"net_arch": [16]}
CNN = {"features_extractor_kwargs": {"features_dim": 16}}
CASES = (
    Case("DQN"),
    Case(
        "DQN, shifted choices, ELU",
        action="shifted",
        policy_kwargs={"net_arch": [13, 7], "activation_fn": nn.ELU},
    ),
    Case("DQN, one choice, no hidden layer", action="only", policy_kwargs={"net_arch": []}),
    Case("DQN, image", observation="image", policy="CnnPolicy", policy_kwargs=CNN),
    Case("DQN, Dict", observation="mixed", policy_kwargs=SMALL),
    Case("DQN, Discrete observations", observation="choice", policy_kwargs=SMALL),
    Case("DQN, MultiDiscrete observations", observation="choices", policy_kwargs=SMALL),
    Case("DQN, MultiBinary observations", observation="switches", policy_kwargs=SMALL),
    Case("QR-DQN", QRDQN),
    Case("QR-DQN, shifted choices", QRDQN, action="shifted", policy_kwargs={"n_quantiles": 7}),
    Case("QR-DQN, no hidden layer", QRDQN, "double", policy_kwargs={"net_arch": [], "n_quantiles": 25}),
    Case("QR-DQN, image", QRDQN, "image", policy="CnnPolicy", policy_kwargs=CNN),
    Case("QR-DQN, Dict", QRDQN, "mixed", policy_kwargs=SMALL),
)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@cache
def _made(name: str) -> Made:
    case = next(case for case in CASES if case.name == name)
    spaces = OBSERVATIONS[case.observation](), ACTIONS[case.action]()
    return make(off_policy(case.algorithm, *spaces, case.policy, **case.policy_kwargs))


def _unmasked(made: Made, rows: int) -> Inputs:
    observations = sample(made.policy.observation_space, rows, seed=1)
    return Inputs(observations, np.ones((rows, made.contract.mask_width), np.bool_))


@every_case
def test_greedy_actions_are_those_of_predict(case: Case) -> None:
    made = _made(case.name)
    inputs = _unmasked(made, 500)
    found = made.run(inputs)["action"]
    predicted, _ = made.policy.predict(made.preparation(inputs.observations), deterministic=True)
    clear = made.ask(inputs).margin > 1e-5
    assert clear.mean() > 0.99
    assert (found == predicted + made.policy.action_space.start)[clear].all()


@every_case
def test_every_output_is_that_of_sb3(case: Case) -> None:
    made = _made(case.name)
    assert made.contract.outputs == ("action", "distribution", "value")
    assert made.contract.noise is None
    assert_same(made, made.inputs())


@every_case
def test_rows_never_influence_each_other(case: Case) -> None:
    made = _made(case.name)
    assert_alone(made, made.inputs(11 if case.observation in {"image", "mixed"} else 67))


@pytest.mark.parametrize("name", ["DQN, shifted choices, ELU", "QR-DQN, shifted choices"])
def test_the_value_is_the_best_that_the_mask_allows(name: str) -> None:
    made = _made(name)
    inputs = made.inputs()
    found, everything = made.run(inputs), made.run(_masked(inputs, np.True_))
    assert inputs.action_mask is not None
    allowed = np.where(inputs.action_mask, everything["distribution"], -np.inf)
    np.testing.assert_array_equal(found["distribution"], allowed)
    np.testing.assert_array_equal(found["value"], allowed.max(axis=1))
    np.testing.assert_array_equal(found["action"], allowed.argmax(axis=1) - 1)
    assert (found["action"] != everything["action"]).any()


@pytest.mark.parametrize("name", ["DQN", "QR-DQN, shifted choices"])
def test_without_an_allowed_choice_there_is_none(name: str) -> None:
    made = _made(name)
    inputs = _masked(made.inputs(), np.False_)
    none = made.policy.action_space.start - 1
    for outputs in (made.run(inputs), made.ask(inputs).outputs):
        assert (outputs["action"] == none).all()
        assert np.isneginf(outputs["distribution"]).all()
        assert np.isneginf(outputs["value"]).all()
    assert (
        made.family.act(made.preparation(inputs.observations), inputs, sampled=False).actions == none
    ).all()


@pytest.mark.parametrize("name", ["DQN", "QR-DQN, shifted choices"])
def test_acting_obeys_the_mask(name: str) -> None:
    made = _made(name)
    inputs = made.inputs()
    prepared = made.preparation(inputs.observations)
    masked = made.family.act(prepared, inputs, sampled=False).actions
    free = made.family.act(prepared, Inputs(inputs.observations), sampled=False).actions
    assert inputs.action_mask is not None
    assert inputs.action_mask[np.arange(len(inputs)), masked - made.policy.action_space.start].all()
    np.testing.assert_array_equal(free[::2], masked[::2])  # every other row has no mask of its own
    assert (free != masked).any()


def test_the_graph_of_quantiles_is_no_larger_than_one_of_values() -> None:
    operators = [_made(name).operators for name in ("DQN", "QR-DQN")]
    assert operators[0] == operators[1]


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


def test_a_network_of_the_users_own_is_exported_as_it_is() -> None:
    spaces = OBSERVATIONS["mixed"](), ACTIONS["five"]()
    made = make(off_policy(DQN, *spaces, DuelingPolicy, features_extractor_class=CombinedExtractor))
    assert_same(made, made.inputs())


def _masked(inputs: Inputs, allowed: np.bool_) -> Inputs:
    assert inputs.action_mask is not None
    return Inputs(inputs.observations, np.full(inputs.action_mask.shape, allowed))
