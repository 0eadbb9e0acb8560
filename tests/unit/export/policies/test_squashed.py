"""SAC, TQC and CrossQ: the graph against SB3's own actors and `predict`, and samples against their law."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import SAC
from torch import nn

from steersman.export.policies.inputs import Inputs
from unit.export.policies.made import ACTIONS, OBSERVATIONS, Made, assert_alone, assert_same, make, sample
from unit.export.policies.off_policy import off_policy


@dataclass(frozen=True)
class Case:
    name: str
    algorithm: Any = SAC
    observation: str = "flat"
    action: str = "arm"
    policy: str = ""
    policy_kwargs: dict[str, Any] = field(default_factory=dict)


SMALL = {"net_arch": [16]}
CNN = {"net_arch": [16], "features_extractor_kwargs": {"features_dim": 16}}
SDE = {"net_arch": [16, 9], "use_sde": True}
CASES = (
    Case("SAC"),
    Case("SAC, float64 actions", observation="double", action="precise", policy_kwargs=SMALL),
    Case("SAC, image", observation="image", policy="CnnPolicy", policy_kwargs=CNN),
    Case("SAC, Dict", observation="mixed", action="torque", policy_kwargs=SMALL),
    Case("SAC, Discrete observations", observation="choice", action="torque", policy_kwargs=SMALL),
    Case("SAC, ELU", observation="matrix", policy_kwargs={"net_arch": [13, 7], "activation_fn": nn.ELU}),
    Case("SAC, no hidden layer", observation="counts", action="torque", policy_kwargs={"net_arch": []}),
    Case("SAC with gSDE", policy_kwargs=SDE),
    Case("SAC with gSDE, expln", action="precise", policy_kwargs={**SDE, "use_expln": True}),
    Case("SAC with gSDE, mean not clipped", action="torque", policy_kwargs={**SDE, "clip_mean": 0.0}),
    Case("TQC", TQC, policy_kwargs={"net_arch": {"pi": [12], "qf": [8]}}),
    Case("TQC with gSDE", TQC, observation="mixed", policy_kwargs=SDE),
    Case("CrossQ", CrossQ),
    Case("CrossQ, no hidden layer", CrossQ, "double", "precise", policy_kwargs={"net_arch": []}),
    Case("CrossQ with gSDE", CrossQ, policy_kwargs=SDE),
)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
LAWS = ("SAC", "SAC, float64 actions", "SAC with gSDE", "CrossQ", "CrossQ with gSDE")


@cache
def _made(name: str) -> Made:
    case = next(case for case in CASES if case.name == name)
    spaces = OBSERVATIONS[case.observation](), ACTIONS[case.action]()
    return make(off_policy(case.algorithm, *spaces, case.policy, **case.policy_kwargs))


@every_case
def test_greedy_actions_are_those_of_predict(case: Case) -> None:
    made = _made(case.name)
    inputs, space = made.inputs(500, seed=1), made.policy.action_space
    found = made.run(inputs)["action"]
    predicted, _ = made.policy.predict(made.preparation(inputs.observations), deterministic=True)
    assert (found.dtype, found.shape) == (space.dtype, predicted.shape)
    np.testing.assert_allclose(found, predicted, rtol=0, atol=1e-5)
    assert (found.std(axis=0) > 1e-3 * (space.high - space.low)).all()


@every_case
def test_every_output_is_that_of_sb3(case: Case) -> None:
    made = _made(case.name)
    assert made.contract.outputs == ("action", "sampled_action", "log_prob", "distribution")
    assert_same(made, made.inputs())


@every_case
def test_rows_never_influence_each_other(case: Case) -> None:
    made = _made(case.name)
    assert_alone(made, made.inputs(11 if case.observation in {"image", "mixed"} else 67))


@pytest.mark.parametrize("name", ["SAC", "SAC with gSDE", "SAC with gSDE, mean not clipped", "CrossQ"])
def test_far_out_where_tanh_is_1(name: str) -> None:
    made = _made(name)
    inputs = made.inputs(500)
    far = replace(inputs, observations={"obs": 100 * inputs.observations["obs"]})
    found, expected = made.run(far), made.ask(far).outputs
    assert (found["sampled_action"] == made.policy.action_space.high).any()
    for output, array in found.items():
        np.testing.assert_allclose(array, expected[output], rtol=1e-4, atol=1e-4, err_msg=output)


@pytest.mark.parametrize("name", ["SAC", "TQC", "CrossQ"])
def test_log_probabilities_are_those_that_training_has(name: str) -> None:
    made = _made(name)
    observations, actor = sample(made.policy.observation_space, 500, seed=2), made.policy.actor
    with torch.no_grad():
        tensor, _ = made.policy.obs_to_tensor(made.preparation(observations))
        action, log_prob = actor.action_log_prob(tensor)
        normal = actor.action_dist.distribution
        noise = (actor.action_dist.gaussian_actions - normal.mean) / normal.stddev
    found = made.run(Inputs(observations, noise=noise.numpy()))
    sampled = made.policy.unscale_action(action.numpy())
    np.testing.assert_allclose(found["sampled_action"], sampled, rtol=0, atol=1e-4)
    usual = (action.abs() < 0.999).all(dim=1).numpy()  # beyond, float32 loses training's digits
    assert usual.mean() > 0.1
    np.testing.assert_allclose(found["log_prob"][usual], log_prob.numpy()[usual], rtol=1e-3, atol=1e-3)


def test_noise_of_gsde_is_one_matrix_for_an_episode() -> None:
    made = _made("SAC with gSDE")
    noise = made.contract.noise
    assert noise is not None
    assert (noise.law, noise.width, noise.scope) == ("normal", 9 * 3, "episode")
    inputs, actor = made.inputs(), made.policy.actor
    assert inputs.noise is not None
    with torch.no_grad():
        actor.action_dist.exploration_mat = torch.from_numpy(inputs.noise[0].reshape(9, 3)) * actor.get_std()
    kept = Inputs(inputs.observations, noise=np.repeat(inputs.noise[:1], len(inputs), axis=0))
    predicted, _ = made.policy.predict(made.preparation(inputs.observations), deterministic=False)
    np.testing.assert_allclose(made.run(kept)["sampled_action"], predicted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["SAC, Discrete observations", "SAC with gSDE, mean not clipped"])
def test_the_density_integrates_to_one(name: str) -> None:
    made = _made(name)
    assert made.contract.noise is not None
    noise = np.linspace(-5, 5, 4001, dtype=np.float32)[:, None]
    found = made.run(_repeated(made.inputs(1), np.repeat(noise, made.contract.noise.width, axis=1)))
    policy_space = found["sampled_action"][:, 0].astype(np.float64) / 2.0  # the bounds are +-2
    order = np.argsort(policy_space)
    mass = np.trapezoid(np.exp(found["log_prob"][order].astype(np.float64)), policy_space[order])
    assert mass == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", LAWS)
def test_samples_follow_the_law_of_sb3s(name: str) -> None:
    """Two-sample Kolmogorov-Smirnov test for each element of the action, and its first two moments."""
    made, draws = _made(name), 20_000
    row = made.inputs(1, seed=3)
    assert row.noise is not None
    noise = np.random.default_rng(4).standard_normal((draws, row.noise.shape[1]), np.float32)
    inputs = _repeated(row, noise)
    torch.manual_seed(6)
    theirs = made.family.act(made.preparation(inputs.observations), inputs, sampled=True).actions
    ours = made.run(inputs)["sampled_action"]
    assert theirs.shape == ours.shape
    for mine, other in zip(ours.reshape(draws, -1).T, theirs.reshape(draws, -1).T, strict=True):
        assert _ks_distance(mine, other) < 2.23 * math.sqrt(2 / draws)  # one in 10,000 by chance
        error = math.sqrt((mine.var() + other.var()) / draws)
        assert abs(mine.mean() - other.mean()) < 4 * error
        assert mine.std() == pytest.approx(other.std(), rel=0.04)
        assert mine.std() > 0.01


def _repeated(row: Inputs, noise: NDArray[np.float32]) -> Inputs:
    repeated = {name: np.repeat(array, len(noise), axis=0) for name, array in row.observations.items()}
    return Inputs(repeated, noise=noise.astype(np.float32))


def _ks_distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    places = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(part), places, side="right") / len(part) for part in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
