"""SAC, TQC and CrossQ: the graph against SB3's own actors and `predict`, and samples against their law."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import SAC
from torch import nn

from steersman.export.policies.inputs import Inputs
from unit.export.policies.cases import Case, assert_case, each, forms, made_of, named
from unit.export.policies.made import distance, sample

SMALL = {"net_arch": [16]}
CNN = {"net_arch": [16], "features_extractor_kwargs": {"features_dim": 16}}
SDE = {"net_arch": [16, 9], "use_sde": True}
ODD = {"net_arch": [13, 7], "activation_fn": nn.ELU}
CASES = (
    Case("SAC", SAC, exported=True),
    Case("SAC, float64 actions", SAC, "double", "precise", policy_kwargs=ODD, exported=True),
    Case("SAC, image", SAC, "image", policy="CnnPolicy", policy_kwargs=CNN),
    Case("SAC, Dict", SAC, "mixed", "torque", policy_kwargs=SMALL),
    Case("SAC, Discrete observations", SAC, "choice", "torque", policy_kwargs=SMALL),
    Case("SAC, no hidden layer", SAC, "counts", "torque", policy_kwargs={"net_arch": []}),
    Case("SAC with gSDE", SAC, policy_kwargs=SDE, exported=True),
    Case("SAC with gSDE, expln", SAC, action="precise", policy_kwargs={**SDE, "use_expln": True}),
    Case("SAC with gSDE, mean not clipped", SAC, action="torque", policy_kwargs={**SDE, "clip_mean": 0.0}),
    Case("TQC", TQC, policy_kwargs={"net_arch": {"pi": [12], "qf": [8]}}),
    Case("TQC with gSDE", TQC, "mixed", policy_kwargs=SDE),
    Case("CrossQ", CrossQ, exported=True),
    Case("CrossQ, no hidden layer", CrossQ, "double", "precise", policy_kwargs={"net_arch": []}),
    Case("CrossQ with gSDE", CrossQ, policy_kwargs=SDE),
)
FAR = {"SAC", "SAC with gSDE", "SAC with gSDE, mean not clipped", "CrossQ"}
LAWS = ("SAC", "SAC, float64 actions", "SAC with gSDE", "CrossQ", "CrossQ with gSDE")


@each(CASES)
def test_greedy_actions_are_those_of_predict(case: Case) -> None:
    made = made_of(case)
    inputs, space = made.inputs(case.rows, seed=1), made.policy.action_space
    found = made.compute(inputs)["action"]
    predicted, _ = made.policy.predict(made.preparation(inputs.observations), deterministic=True)
    assert (found.dtype, found.shape) == (space.dtype, predicted.shape)
    np.testing.assert_allclose(found, predicted, rtol=0, atol=1e-5)
    assert (found.std(axis=0) > 1e-3 * (space.high - space.low)).all()


@each(CASES)
def test_every_output_is_that_of_sb3(case: Case) -> None:
    made = made_of(case)
    assert made.contract.outputs == ("action", "sampled_action", "log_prob", "distribution")
    assert_case(case)


@each(tuple(case for case in CASES if case.name in FAR))
def test_far_out_where_tanh_is_1(case: Case) -> None:
    made = made_of(case)
    inputs = made.inputs(500)
    far = replace(inputs, observations={"obs": 100 * inputs.observations["obs"]})
    expected = made.ask(far).outputs
    for compute in forms(case):
        found = compute(far)
        assert (found["sampled_action"] == made.policy.action_space.high).any()
        for output, array in found.items():
            np.testing.assert_allclose(array, expected[output], rtol=1e-4, atol=1e-4, err_msg=output)


@pytest.mark.parametrize("name", ["SAC", "TQC", "CrossQ"])
def test_log_probabilities_are_those_that_training_has(name: str) -> None:
    made = named(CASES, name)
    observations, actor = sample(made.policy.observation_space, 500, seed=2), made.policy.actor
    with torch.no_grad():
        tensor, _ = made.policy.obs_to_tensor(made.preparation(observations))
        action, log_prob = actor.action_log_prob(tensor)
        normal = actor.action_dist.distribution
        noise = (actor.action_dist.gaussian_actions - normal.mean) / normal.stddev
    found = made.compute(Inputs(observations, noise=noise.numpy()))
    sampled = made.policy.unscale_action(action.numpy())
    np.testing.assert_allclose(found["sampled_action"], sampled, rtol=0, atol=1e-4)
    usual = (action.abs() < 0.999).all(dim=1).numpy()  # beyond, float32 loses training's digits
    assert usual.mean() > 0.1
    np.testing.assert_allclose(found["log_prob"][usual], log_prob.numpy()[usual], rtol=1e-3, atol=1e-3)


def test_noise_of_gsde_is_one_matrix_for_an_episode() -> None:
    made = named(CASES, "SAC with gSDE")
    noise = made.contract.noise
    assert noise is not None
    assert (noise.law, noise.width, noise.scope) == ("normal", 9 * 3, "episode")
    inputs, actor = made.inputs(), made.policy.actor
    assert inputs.noise is not None
    with torch.no_grad():
        actor.action_dist.exploration_mat = torch.from_numpy(inputs.noise[0].reshape(9, 3)) * actor.get_std()
    kept = Inputs(inputs.observations, noise=np.repeat(inputs.noise[:1], len(inputs), axis=0))
    predicted, _ = made.policy.predict(made.preparation(inputs.observations), deterministic=False)
    np.testing.assert_allclose(made.compute(kept)["sampled_action"], predicted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["SAC, Discrete observations", "SAC with gSDE, mean not clipped"])
def test_the_density_integrates_to_one(name: str) -> None:
    made = named(CASES, name)
    assert made.contract.noise is not None
    noise = np.linspace(-5, 5, 4001, dtype=np.float32)[:, None]
    found = made.compute(_repeated(made.inputs(1), np.repeat(noise, made.contract.noise.width, axis=1)))
    policy_space = found["sampled_action"][:, 0].astype(np.float64) / 2.0  # the bounds are +-2
    order = np.argsort(policy_space)
    mass = np.trapezoid(np.exp(found["log_prob"][order].astype(np.float64)), policy_space[order])
    assert mass == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", LAWS)
def test_samples_follow_the_law_of_sb3s(name: str) -> None:
    """Two-sample Kolmogorov-Smirnov test for each element of the action, and its first two moments."""
    made, draws = named(CASES, name), 20_000
    row = made.inputs(1, seed=3)
    assert row.noise is not None
    noise = np.random.default_rng(4).standard_normal((draws, row.noise.shape[1]), np.float32)
    inputs = _repeated(row, noise)
    torch.manual_seed(6)
    theirs = made.family.act(made.preparation(inputs.observations), inputs, sampled=True).actions
    ours = made.compute(inputs)["sampled_action"]
    assert theirs.shape == ours.shape
    for mine, other in zip(ours.reshape(draws, -1).T, theirs.reshape(draws, -1).T, strict=True):
        assert distance(mine, other) < 2.23 * math.sqrt(2 / draws)  # one in 10,000 by chance
        error = math.sqrt((mine.var() + other.var()) / draws)
        assert abs(mine.mean() - other.mean()) < 4 * error
        assert mine.std() == pytest.approx(other.std(), rel=0.04)
        assert mine.std() > 0.01


def _repeated(row: Inputs, noise: NDArray[np.float32]) -> Inputs:
    repeated = {name: np.repeat(array, len(noise), axis=0) for name, array in row.observations.items()}
    return Inputs(repeated, noise=noise.astype(np.float32))
