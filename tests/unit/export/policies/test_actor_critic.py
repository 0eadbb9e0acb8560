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
from unit.export.policies.made import (
    ACTIONS,
    OBSERVATIONS,
    assert_alone,
    assert_same,
    distance,
    make,
    untrained,
)

CHOICES = ("five", "shifted", "only", "ragged", "even", "switches")
BOXES = ("torque", "arm", "precise")
CHI_SQUARE_LIMIT = 18.5
"""99.9 % of chi-square with 4 degrees of freedom."""


@pytest.mark.parametrize(
    ("observation", "action"), list(zip(OBSERVATIONS, cycle(["ragged", "arm"]), strict=False))
)
def test_every_kind_of_observation(observation: str, action: str) -> None:
    policy = "CnnPolicy" if observation == "image" else ""
    made = make(untrained(PPO, OBSERVATIONS[observation](), ACTIONS[action](), policy))
    assert_same(made, made.inputs(200))
    assert_alone(made, made.inputs(29))


@pytest.mark.parametrize("algorithm", [A2C, MaskablePPO], ids=lambda algorithm: algorithm.__name__)
@pytest.mark.parametrize("action", CHOICES)
def test_every_kind_of_choice(algorithm: Any, action: str) -> None:
    made = make(untrained(algorithm, OBSERVATIONS["flat"](), ACTIONS[action]()))
    assert_same(made, made.inputs(1_000))
    assert_alone(made, made.inputs())


@pytest.mark.parametrize("action", BOXES)
def test_every_kind_of_box(action: str) -> None:
    made = make(untrained(TRPO, OBSERVATIONS["flat"](), ACTIONS[action]()))
    assert_same(made, made.inputs(1_000))
    assert_alone(made, made.inputs())


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


FORMS: dict[str, dict[str, Any]] = {
    "linear": {"net_arch": []},
    "branches": {"net_arch": {"pi": [11], "vf": [5, 5]}},
    "separate extractors": {"share_features_extractor": False},
    "custom extractor": {"features_extractor_class": Stretched},
    "separate custom extractors": {
        "features_extractor_class": Stretched,
        "share_features_extractor": False,
    },
    "RReLU": {"activation_fn": nn.RReLU},
    "GELU": {"activation_fn": nn.GELU, "net_arch": [9]},
    "custom policy": {"policy": TwoRoadsPolicy},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_network(form: str) -> None:
    made = make(untrained(PPO, OBSERVATIONS["flat"](), ACTIONS["five"](), **FORMS[form]))
    assert_same(made, made.inputs(500))
    assert_alone(made, made.inputs())


@pytest.mark.parametrize(("observation", "policy"), [("image", "CnnPolicy"), ("mixed", "MultiInputPolicy")])
def test_maskable_policies_of_images_and_dictionaries(observation: str, policy: str) -> None:
    made = make(untrained(MaskablePPO, OBSERVATIONS[observation](), ACTIONS["ragged"](), policy))
    assert_same(made, made.inputs(100))


@pytest.mark.parametrize("action", ["five", "shifted", "ragged", "even", "switches"])
@pytest.mark.parametrize("algorithm", [PPO, MaskablePPO], ids=lambda algorithm: algorithm.__name__)
def test_a_segment_without_a_choice_gives_none(algorithm: Any, action: str) -> None:
    made = make(untrained(algorithm, OBSERVATIONS["flat"](), ACTIONS[action]()))
    inputs, widths = made.inputs(40), made.contract.action.mask_segments
    mask = np.ones((40, sum(widths)), np.bool_)
    mask[::2, -widths[-1] :] = False
    inputs = replace(inputs, action_mask=mask)
    found, none = made.run(inputs), getattr(made.contract.action, "start", 0) - 1
    for name in ("action", "sampled_action"):
        assert (found[name].reshape(40, -1)[::2, -1] == none).all()
        assert (found[name].reshape(40, -1)[1::2] > none).all()
    for name in ("log_prob", "entropy"):
        assert np.isnan(found[name][::2]).all()
        assert np.isfinite(found[name][1::2]).all()
    assert np.isnan(found["distribution"][::2, -widths[-1] :]).all()
    assert_same(made, inputs)
    assert_alone(made, inputs)


@pytest.mark.parametrize("action", ["five", "ragged", "switches"])
def test_masked_choices_are_never_taken(action: str) -> None:
    made = make(untrained(PPO, OBSERVATIONS["flat"](), ACTIONS[action]()))
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
    made = make(untrained(PPO, OBSERVATIONS["choices"](), ACTIONS["five"]()))
    inputs = made.inputs(6)
    broken = inputs.observations["obs"].copy()
    broken[3], broken[5] = 2**62, -1
    found = made.run(replace(inputs, observations={"obs": broken}))
    for name, array in made.run(inputs).items():
        assert found[name][[0, 1, 2, 4]].tobytes() == array[[0, 1, 2, 4]].tobytes()


@pytest.mark.parametrize("algorithm", [PPO, MaskablePPO], ids=lambda algorithm: algorithm.__name__)
def test_sampled_choices_follow_the_masked_distribution(algorithm: Any) -> None:
    """The graph's draws by noise and SB3's own draws, each against the same shares."""
    made, draws = make(untrained(algorithm, OBSERVATIONS["flat"](), ACTIONS["five"]())), 20_000
    one = made.inputs(1).observations["obs"]
    mask = np.tile([True, True, False, True, True], (draws, 1))
    cells = np.random.default_rng(4).integers(2**23, size=mask.shape)
    noise = ((cells + 0.5) * 2.0**-23).astype(np.float32)
    inputs = Inputs({"obs": np.repeat(one, draws, axis=0)}, mask, noise)
    found = made.run(inputs)
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
    made, draws = make(untrained(PPO, OBSERVATIONS["flat"](), ACTIONS["switches"]())), 20_000
    inputs = replace(made.inputs(draws), action_mask=np.ones((draws, 10), np.bool_))
    same = replace(inputs, observations={"obs": np.repeat(inputs.observations["obs"][:1], draws, axis=0)})
    found = made.run(same)
    on = np.exp(found["distribution"][0, 1::2].astype(np.float64))
    spread = np.sqrt(on * (1 - on) / draws)
    assert (np.abs(found["sampled_action"].mean(axis=0) - on) < 4 * spread).all()  # 0.03 % for five switches


def test_sampled_boxes_follow_sb3s_in_law() -> None:
    made, draws = make(untrained(PPO, OBSERVATIONS["flat"](), ACTIONS["arm"]())), 4_000
    many = {"obs": np.repeat(made.inputs(1).observations["obs"], draws, axis=0)}
    noise = np.random.default_rng(3).standard_normal((draws, 3)).astype(np.float32)
    ours = made.run(Inputs(many, noise=noise))["sampled_action"]
    torch.manual_seed(12)
    theirs = made.family.act(made.preparation(many), Inputs(many), sampled=True).actions
    for element in range(3):  # 1.95: 0.1 % of two-sample Kolmogorov-Smirnov
        assert distance(ours[:, element], theirs[:, element]) < 1.95 * np.sqrt(2 / draws)
