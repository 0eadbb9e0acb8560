"""TD3, DDPG and ARS: the graph against SB3's `predict`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from sb3_contrib import ARS
from stable_baselines3 import DDPG, TD3
from torch import nn

from steersman.export.policies.inputs import Inputs
from unit.export.policies.made import ACTIONS, OBSERVATIONS, Made, assert_alone, assert_same, make, sample
from unit.export.policies.off_policy import off_policy


@dataclass(frozen=True)
class Case:
    name: str
    algorithm: Any = TD3
    observation: str = "flat"
    action: str = "arm"
    policy: str = ""
    policy_kwargs: dict[str, Any] = field(default_factory=dict)


SMALL = {"net_arch": [16]}
CNN = {"net_arch": [16], "features_extractor_kwargs": {"features_dim": 16}}
CASES = (
    Case("TD3"),
    Case("TD3, float64 actions", observation="double", action="precise", policy_kwargs=SMALL),
    Case("TD3, image", observation="image", policy="CnnPolicy", policy_kwargs=CNN),
    Case("TD3, Dict", observation="mixed", action="torque", policy_kwargs=SMALL),
    Case(
        "TD3, Discrete observations", observation="choice", policy_kwargs={"net_arch": {"pi": [8], "qf": [4]}}
    ),
    Case("DDPG, Mish", DDPG, "matrix", policy_kwargs={"net_arch": [13, 7], "activation_fn": nn.Mish}),
    Case("DDPG, no hidden layer", DDPG, "counts", "torque", policy_kwargs={"net_arch": []}),
    Case("ARS, squashed", ARS, policy_kwargs={"activation_fn": nn.Tanh}),
    Case("ARS, clipped", ARS, policy_kwargs={"squash_output": False, "with_bias": False}),
    Case("ARS, clipped float64", ARS, "double", "precise", policy_kwargs={"squash_output": False}),
    Case("ARS, linear", ARS, action="torque", policy="LinearPolicy"),
    Case("ARS, linear and squashed", ARS, policy="LinearPolicy", policy_kwargs={"squash_output": True}),
    Case("ARS, choices", ARS, action="five", policy_kwargs=SMALL),
    Case("ARS, linear, shifted choices", ARS, "choices", "shifted", policy="LinearPolicy"),
)
CONTINUOUS = tuple(case for case in CASES if "choices" not in case.name)
CHOICES = tuple(case for case in CASES if "choices" in case.name)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_choice = pytest.mark.parametrize("case", CHOICES, ids=lambda case: case.name)


@cache
def _made(name: str) -> Made:
    case = next(case for case in CASES if case.name == name)
    spaces = OBSERVATIONS[case.observation](), ACTIONS[case.action]()
    return make(off_policy(case.algorithm, *spaces, case.policy, **case.policy_kwargs))


def _observed(made: Made, rows: int) -> tuple[Inputs, Any]:
    """Rows without a mask of their own, and what `predict` answers."""
    inputs = Inputs(sample(made.policy.observation_space, rows, seed=1))
    if made.contract.mask_width:
        inputs = Inputs(inputs.observations, np.ones((rows, made.contract.mask_width), np.bool_))
    return inputs, made.policy.predict(made.preparation(inputs.observations), deterministic=True)[0]


@pytest.mark.parametrize("case", CONTINUOUS, ids=lambda case: case.name)
def test_actions_are_those_of_predict(case: Case) -> None:
    made = _made(case.name)
    inputs, predicted = _observed(made, 500)
    found, space = made.run(inputs)["action"], made.policy.action_space
    assert (found.dtype, found.shape) == (space.dtype, predicted.shape)
    np.testing.assert_allclose(found, predicted, rtol=0, atol=1e-5)
    assert (found.std(axis=0) > 1e-3 * (space.high - space.low)).all()
    if "clipped" in case.name:
        assert ((found == space.high) | (found == space.low)).any()


@every_choice
def test_choices_are_those_of_predict(case: Case) -> None:
    made = _made(case.name)
    inputs, predicted = _observed(made, 500)
    clear = made.ask(inputs).margin > 1e-5
    assert clear.mean() > 0.99
    assert (made.run(inputs)["action"] == predicted + made.policy.action_space.start)[clear].all()


@every_case
def test_the_action_is_all_that_there_is(case: Case) -> None:
    made = _made(case.name)
    assert made.contract.outputs == ("action",)
    assert made.contract.noise is None
    assert ("action_mask" in made.session.inputs) == (case in CHOICES)
    assert_same(made, made.inputs())


@every_case
def test_rows_never_influence_each_other(case: Case) -> None:
    made = _made(case.name)
    assert_alone(made, made.inputs(11 if case.observation in {"image", "mixed"} else 67))


@every_choice
def test_choices_obey_the_mask(case: Case) -> None:
    made = _made(case.name)
    inputs, start = made.inputs(), made.policy.action_space.start
    prepared = made.preparation(inputs.observations)
    acted = made.family.act(prepared, inputs, sampled=False).actions
    free = made.family.act(prepared, Inputs(inputs.observations), sampled=False).actions
    assert inputs.action_mask is not None
    for actions in (made.run(inputs)["action"], acted):
        assert inputs.action_mask[np.arange(len(inputs)), actions - start].all()
    assert (free != acted).any()


@every_choice
def test_without_an_allowed_choice_there_is_none(case: Case) -> None:
    made = _made(case.name)
    drawn = made.inputs()
    inputs = Inputs(drawn.observations, np.zeros((len(drawn), made.contract.mask_width), np.bool_))
    none = made.policy.action_space.start - 1
    assert (made.run(inputs)["action"] == none).all()
    assert (made.ask(inputs).outputs["action"] == none).all()
