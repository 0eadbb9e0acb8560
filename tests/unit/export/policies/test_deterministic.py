"""TD3, DDPG and ARS: the graph against SB3's `predict`."""

from __future__ import annotations

import numpy as np
from sb3_contrib import ARS
from stable_baselines3 import DDPG, TD3
from torch import nn

from steersman.export.policies.inputs import Inputs
from unit.export.policies.cases import Case, assert_case, each, made_of, masked, unmasked

SMALL = {"net_arch": [16]}
CNN = {"net_arch": [16], "features_extractor_kwargs": {"features_dim": 16}}
CASES = (
    Case("TD3", TD3, exported=True),
    Case("TD3, float64 actions", TD3, "double", "precise", policy_kwargs=SMALL, exported=True),
    Case("TD3, image", TD3, "image", policy="CnnPolicy", policy_kwargs=CNN),
    Case("TD3, Dict", TD3, "mixed", "torque", policy_kwargs=SMALL),
    Case("TD3, Discrete observations", TD3, "choice", policy_kwargs={"net_arch": {"pi": [8], "qf": [4]}}),
    Case("DDPG, Mish", DDPG, "matrix", policy_kwargs={"net_arch": [13, 7], "activation_fn": nn.Mish}),
    Case("DDPG, no hidden layer", DDPG, "counts", "torque", policy_kwargs={"net_arch": []}),
    Case("ARS, squashed", ARS, policy_kwargs={"activation_fn": nn.Tanh}),
    Case("ARS, clipped", ARS, policy_kwargs={"squash_output": False, "with_bias": False}),
    Case("ARS, clipped float64", ARS, "double", "precise", policy_kwargs={"squash_output": False}),
    Case("ARS, linear", ARS, action="torque", policy="LinearPolicy", exported=True),
    Case("ARS, linear and squashed", ARS, policy="LinearPolicy", policy_kwargs={"squash_output": True}),
    Case("ARS, choices", ARS, action="five", policy_kwargs=SMALL),
    Case("ARS, linear, shifted choices", ARS, "choices", "shifted", "LinearPolicy", exported=True),
)
CONTINUOUS = tuple(case for case in CASES if "choices" not in case.name)
CHOICES = tuple(case for case in CASES if "choices" in case.name)


@each(CONTINUOUS)
def test_actions_are_those_of_predict(case: Case) -> None:
    made = made_of(case)
    inputs = unmasked(made, case.rows)
    predicted, _ = made.policy.predict(made.preparation(inputs.observations), deterministic=True)
    found, space = made.compute(inputs)["action"], made.policy.action_space
    assert (found.dtype, found.shape) == (space.dtype, predicted.shape)
    np.testing.assert_allclose(found, predicted, rtol=0, atol=1e-5)
    assert (found.std(axis=0) > 1e-3 * (space.high - space.low)).all()
    if "clipped" in case.name:
        assert ((found == space.high) | (found == space.low)).any()


@each(CHOICES)
def test_choices_are_those_of_predict(case: Case) -> None:
    made = made_of(case)
    inputs = unmasked(made, 500)
    predicted, _ = made.policy.predict(made.preparation(inputs.observations), deterministic=True)
    clear = made.ask(inputs).margin > 1e-5
    assert clear.mean() > 0.99
    assert (made.compute(inputs)["action"] == predicted + made.policy.action_space.start)[clear].all()


@each(CASES)
def test_the_action_is_all_that_there_is(case: Case) -> None:
    made = made_of(case)
    assert made.contract.outputs == ("action",)
    assert made.contract.noise is None
    assert ("action_mask" in made.contract.inputs) == (case in CHOICES)
    assert_case(case)


@each(CHOICES)
def test_choices_obey_the_mask(case: Case) -> None:
    made = made_of(case)
    inputs, start = made.inputs(), made.policy.action_space.start
    prepared = made.preparation(inputs.observations)
    acted = made.family.act(prepared, inputs, sampled=False).actions
    free = made.family.act(prepared, Inputs(inputs.observations), sampled=False).actions
    assert inputs.action_mask is not None
    for actions in (made.compute(inputs)["action"], acted):
        assert inputs.action_mask[np.arange(len(inputs)), actions - start].all()
    assert (free != acted).any()


@each(CHOICES)
def test_without_an_allowed_choice_there_is_none(case: Case) -> None:
    made = made_of(case)
    inputs = masked(made.inputs(), np.False_)
    none = made.policy.action_space.start - 1
    assert (made.compute(inputs)["action"] == none).all()
    assert (made.ask(inputs).outputs["action"] == none).all()
