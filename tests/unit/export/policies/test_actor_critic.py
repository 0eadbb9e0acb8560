"""Actor-critic policies of every space against SB3's own answers, and rows against their company."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TRPO, MaskablePPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from steersman.export.policies.inputs import Inputs
from unit.export.policies.cases import Case, assert_case, each, forms, made_of, named
from unit.export.policies.made import (
    ACTIONS,
    OBSERVATIONS,
    assert_alone,
    assert_computed,
    distance,
    make,
    untrained,
)

CHI_SQUARE_LIMIT = 18.5
"""99.9 % of chi-square with 4 degrees of freedom."""
GRAPHS = {"five", "shifted", "ragged", "even", "switches", "arm", "precise", "coarse", "strides"}
CHOICES = tuple(
    Case(
        f"{algorithm.__name__}, {action}",
        algorithm,
        action=action,
        exported=algorithm is PPO and action in GRAPHS,
    )
    for action in ("five", "shifted", "only", "ragged", "even", "switches")
    for algorithm in (PPO, A2C, MaskablePPO)
    if algorithm is not MaskablePPO or action != "only"
)
BOXES = tuple(
    Case(
        f"{algorithm.__name__}, {action}",
        algorithm,
        action=action,
        exported=algorithm is PPO and action in GRAPHS,
    )
    for action in ("torque", "arm", "precise", "coarse", "steps", "strides")
    for algorithm in (PPO, TRPO)
)
OBSERVED = tuple(
    Case(
        f"observing {observation}",
        PPO,
        observation,
        action,
        policy="CnnPolicy" if observation == "image" else "",
        exported=observation == "everything",
    )
    for observation, action in zip(OBSERVATIONS, cycle(["ragged", "arm"]), strict=False)
)


class Stretched(BaseFeaturesExtractor):
    """What a user writes: odd widths, batch norm, functions instead of layers."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, 13)
        self.layer, self.norm = nn.Linear(observation_space.shape[0], 13), nn.BatchNorm1d(13)

    def forward(self, observations: Tensor) -> Tensor:
        return torch.relu(self.norm(self.layer(observations))) ** 2


class TwoRoads(nn.Module):
    """The custom network of SB3's documentation, whose roads share their first layer."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.latent_dim_pi = self.latent_dim_vf = 7
        self.first, self.pi, self.vf = nn.Linear(features, 9), nn.Linear(9, 7), nn.Linear(9, 7)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        return torch.tanh(self.pi(self.first(features)))

    def forward_critic(self, features: Tensor) -> Tensor:
        return torch.tanh(self.vf(self.first(features)))


class TwoRoadsPolicy(ActorCriticPolicy):
    """A subclass as users write them."""

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = TwoRoads(self.features_dim)  # type: ignore[assignment]


SEPARATE = {"share_features_extractor": False}
STRETCHED = {"features_extractor_class": Stretched}
FORMS = (
    Case("linear", PPO, action="five", policy_kwargs={"net_arch": []}),
    Case("branches", PPO, action="five", policy_kwargs={"net_arch": {"pi": [11], "vf": [5, 5]}}),
    Case("separate extractors", PPO, action="five", policy_kwargs=SEPARATE),
    Case("custom extractor", PPO, action="five", policy_kwargs=STRETCHED),
    Case(
        "separate custom extractors and RReLU",
        PPO,
        action="five",
        policy_kwargs={**STRETCHED, **SEPARATE, "activation_fn": nn.RReLU},
        exported=True,
    ),
    Case("GELU", PPO, action="five", policy_kwargs={"activation_fn": nn.GELU, "net_arch": [9]}),
    Case("custom policy", PPO, action="five", policy=TwoRoadsPolicy, exported=True),
    Case("images", MaskablePPO, "image", "ragged", "CnnPolicy"),
    Case("dictionaries", MaskablePPO, "mixed", "ragged"),
)


@each((*OBSERVED, *CHOICES, *BOXES, *FORMS))
def test_outputs_are_those_of_sb3(case: Case) -> None:
    assert_case(case)


@each(tuple(case for case in CHOICES if "only" not in case.name))
def test_a_segment_without_a_choice_gives_none(case: Case) -> None:
    made = made_of(case)
    inputs, widths = made.inputs(40), made.contract.action.mask_segments
    mask = np.ones((40, sum(widths)), np.bool_)
    mask[::2, -widths[-1] :] = False
    inputs = replace(inputs, action_mask=mask)
    none = getattr(made.contract.action, "start", 0) - 1
    for compute in forms(case):
        found = compute(inputs)
        for name in ("action", "sampled_action"):
            assert (found[name].reshape(40, -1)[::2, -1] == none).all()
            assert (found[name].reshape(40, -1)[1::2] > none).all()
        for name in ("log_prob", "entropy"):
            assert np.isnan(found[name][::2]).all()
            assert np.isfinite(found[name][1::2]).all()
        assert np.isnan(found["distribution"][::2, -widths[-1] :]).all()
    assert_computed(made, inputs)
    if case.exported:
        assert_alone(made, inputs)


@pytest.mark.parametrize("action", ["five", "ragged", "switches"])
def test_masked_choices_are_never_taken(action: str) -> None:
    made = named(CHOICES, f"PPO, {action}")
    inputs, widths = made.inputs(500), made.contract.action.mask_segments
    found, mask = made.run(inputs), inputs.action_mask
    assert mask is not None
    offsets = np.cumsum([0, *widths[:-1]])
    for name in ("action", "sampled_action"):
        columns = found[name].reshape(500, -1) + offsets
        assert np.take_along_axis(mask, columns, axis=1).all()
    assert np.isneginf(found["distribution"][~mask]).all()
    sums = np.add.reduceat(np.exp(found["distribution"].astype(np.float64)), offsets, axis=1)
    assert np.allclose(sums, 1.0, atol=1e-5)


def test_numbers_outside_a_discrete_observation_stop_nobody() -> None:
    made = named(OBSERVED, "observing everything")
    inputs = made.inputs(6)
    broken = {name: array.copy() for name, array in inputs.observations.items()}
    for name in ("obs/some choice", "obs/some choices"):
        broken[name][3], broken[name][5] = 2**62, -1
    found = made.run(replace(inputs, observations=broken))
    for name, array in made.run(inputs).items():
        assert found[name][[0, 1, 2, 4]].tobytes() == array[[0, 1, 2, 4]].tobytes()


@pytest.mark.parametrize("algorithm", [PPO, MaskablePPO], ids=lambda algorithm: algorithm.__name__)
def test_sampled_choices_follow_the_masked_distribution(algorithm: Any) -> None:
    """The graph's draws by noise and SB3's own draws, each against the same shares."""
    made, draws = named(CHOICES, f"{algorithm.__name__}, five"), 20_000
    one = made.inputs(1).observations["obs"]
    mask = np.tile([True, True, False, True, True], (draws, 1))
    cells = np.random.default_rng(4).integers(2**23, size=mask.shape)
    noise = ((cells + 0.5) * 2.0**-23).astype(np.float32)
    inputs = Inputs({"obs": np.repeat(one, draws, axis=0)}, mask, noise)
    found = made.compute(inputs)
    torch.manual_seed(11)
    own = made.family.act(made.preparation(inputs.observations), inputs, sampled=True).actions
    shares = np.exp(found["distribution"][0].astype(np.float64))
    allowed = mask[0] & (draws * shares > 5)
    for sampled in (found["sampled_action"], own):
        counts = np.bincount(sampled, minlength=5)
        assert counts[2] == 0
        expected = draws * shares[allowed]
        assert (np.square(counts[allowed] - expected) / expected).sum() < CHI_SQUARE_LIMIT


def test_sampled_switches_follow_sb3s_in_law() -> None:
    made, draws = named(CHOICES, "PPO, switches"), 20_000
    inputs = replace(made.inputs(draws), action_mask=np.ones((draws, 10), np.bool_))
    same = replace(inputs, observations={"obs": np.repeat(inputs.observations["obs"][:1], draws, axis=0)})
    found = made.run(same)
    on = np.exp(found["distribution"][0, 1::2].astype(np.float64))
    spread = np.sqrt(on * (1 - on) / draws)
    assert (np.abs(found["sampled_action"].mean(axis=0) - on) < 4 * spread).all()  # 0.03 % for five switches


def test_densities_where_the_mean_is_large_beside_the_spread() -> None:
    policy = untrained(PPO, OBSERVATIONS["flat"](), ACTIONS["arm"](), net_arch=[])
    with torch.no_grad():
        policy.policy.get_parameter("log_std").fill_(-3.0)
    made = make(policy)
    inputs = made.inputs(500)
    far = replace(inputs, observations={"obs": 100 * inputs.observations["obs"]})
    ours, theirs = made.compute(far)["log_prob"], made.ask(far).outputs["log_prob"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-5)


def test_sampled_boxes_follow_sb3s_in_law() -> None:
    made, draws = named(BOXES, "PPO, arm"), 4_000
    many = {"obs": np.repeat(made.inputs(1).observations["obs"], draws, axis=0)}
    noise = np.random.default_rng(3).standard_normal((draws, 3)).astype(np.float32)
    ours = made.run(Inputs(many, noise=noise))["sampled_action"]
    torch.manual_seed(12)
    theirs = made.family.act(made.preparation(many), Inputs(many), sampled=True).actions
    for element in range(3):  # 1.95: 0.1 % of two-sample Kolmogorov-Smirnov
        assert distance(ours[:, element], theirs[:, element]) < 1.95 * np.sqrt(2 / draws)
