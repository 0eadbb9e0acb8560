"""State-dependent exploration (gSDE) against SB3's own distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO

from steersman.export.policies.inputs import Inputs
from unit.export.policies.cases import Case, assert_case, each, named
from unit.export.policies.made import ACTIONS, OBSERVATIONS, assert_computed, distance, make, untrained

FORMS: dict[str, dict[str, Any]] = {
    "full": {},
    "one spread per feature": {"full_std": False},
    "expln": {"use_expln": True},
    "squashed": {"squash_output": True},
    "squashed expln, one spread": {"squash_output": True, "use_expln": True, "full_std": False},
}
CASES = tuple(
    Case(
        f"{form}, {action}",
        algorithm,
        action=action,
        policy_kwargs={"use_sde": True, "net_arch": [13], **kwargs},
        exported=(form, action) in {("full", "arm"), ("squashed", "precise")},
    )
    for form, kwargs in FORMS.items()
    for action, algorithm in (("arm", PPO), ("precise", A2C))
)


@each(CASES)
def test_every_form_agrees_with_sb3(case: Case) -> None:
    assert_case(case)


def test_squashed_far_out_where_tanh_is_1() -> None:
    kwargs = {"use_sde": True, "net_arch": [13], "squash_output": True}
    policy = untrained(PPO, OBSERVATIONS["flat"](), ACTIONS["arm"](), **kwargs)
    with torch.no_grad():
        policy.policy.get_parameter("action_net.weight").mul_(10.0)
    made = make(policy)
    inputs = made.inputs(500)
    assert (made.compute(inputs)["action"] == made.policy.action_space.high).any()
    assert_computed(made, inputs)


def test_noise_is_the_exploration_matrix_of_an_episode() -> None:
    noise = named(CASES, "full, arm").contract.noise
    assert noise is not None
    assert (noise.law, noise.width, noise.scope) == ("normal", 13 * 3, "episode")


def test_squashed_actions_have_no_entropy_as_in_sb3() -> None:
    contract = named(CASES, "squashed, arm").contract
    assert contract.distribution == "squashed_gaussian"
    assert "entropy" not in contract.outputs


@pytest.mark.parametrize("form", ["full", "squashed"])
def test_sampled_actions_follow_sb3s_in_law(form: str) -> None:
    made, draws = named(CASES, f"{form}, arm"), 4_000
    one = made.inputs(1)
    many = Inputs({name: np.repeat(array, draws, axis=0) for name, array in one.observations.items()})
    noise = np.random.default_rng(3).standard_normal((draws, 39)).astype(np.float32)
    ours = made.compute(Inputs(many.observations, noise=noise))["sampled_action"]
    theirs = made.family.act(made.preparation(many.observations), many, sampled=True).actions
    for element in range(3):  # 1.95: 0.1 % of two-sample Kolmogorov-Smirnov
        assert distance(ours[:, element], theirs[:, element]) < 1.95 * np.sqrt(2 / draws)
