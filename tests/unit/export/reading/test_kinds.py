"""Files of every algorithm, policy, space and setting open, and the policy is the one that was saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor

from steersman.export.reading.load import SavedPolicy, load_policy
from unit.export.reading.conftest import Build
from unit.export.reading.files import OBSERVATIONS, Kind, observations

SDE = {"use_sde": True}
KINDS = [
    *(Kind("PPO", observation, "choice") for observation in OBSERVATIONS),
    *(Kind("PPO", "vector", action) for action in ("choices", "switches", "arm")),
    *(Kind("MaskablePPO", observation, "choices") for observation in OBSERVATIONS),
    *(Kind("MaskablePPO", "vector", action) for action in ("choice", "switches")),
    *(Kind("RecurrentPPO", observation, "arm") for observation in ("vector", "image", "keyed", "choice")),
    *(Kind(name, observation, "arm") for name in ("A2C", "TRPO") for observation in OBSERVATIONS),
    *(Kind(name, observation) for name in ("DQN", "QRDQN") for observation in OBSERVATIONS),
    *(
        Kind(name, seen, "arm")
        for name in ("SAC", "TD3", "DDPG", "TQC")
        for seen in ("vector", "image", "keyed")
    ),
    *(Kind("ARS", seen, action) for seen in ("vector", "choices") for action in ("choice", "arm")),
    Kind("CrossQ", "vector", "arm"),
    Kind("CrossQ", "switches", "arm"),
]
"""Algorithms by spaces."""

SETTINGS = [
    Kind(policy={"net_arch": []}),
    Kind(policy={"net_arch": [5]}),
    Kind(policy={"net_arch": {"pi": [5], "vf": [4, 3]}}),
    Kind(policy={"net_arch": {"pi": [5]}}),
    Kind(policy={"activation_fn": torch.nn.PReLU, "net_arch": [4]}),
    Kind(policy={"activation_fn": torch.nn.Identity, "ortho_init": False}),
    Kind(policy={"optimizer_class": torch.optim.SGD, "optimizer_kwargs": {"momentum": 0.9}}),
    Kind(policy={"features_extractor_class": FlattenExtractor, "share_features_extractor": False}),
    Kind("PPO", "image", policy={"share_features_extractor": False}),
    Kind("PPO", "image", policy={"features_extractor_kwargs": {"features_dim": 7}}),
    Kind("PPO", "image", policy={"normalize_images": False}),
    Kind("PPO", "keyed", policy={"features_extractor_kwargs": {"cnn_output_dim": 7}}),
    Kind("PPO", "vector", "arm", {"log_std_init": -1.0}),
    Kind("PPO", "vector", "arm", {"squash_output": True}, SDE),
    Kind("A2C", "vector", "arm", {"full_std": False, "use_expln": True}, SDE),
    *(Kind(name, "vector", "arm", {"clip_mean": 0.0}, SDE) for name in ("SAC", "TQC", "CrossQ")),
    *(Kind(name, "vector", "arm", {"use_expln": True}, SDE) for name in ("SAC", "TQC", "CrossQ")),
    *(Kind(name, "vector", "arm", {"net_arch": {"pi": [4], "qf": [3]}}) for name in ("SAC", "TD3", "CrossQ")),
    *(
        Kind(name, "vector", "arm", {"n_critics": 3, "net_arch": []})
        for name in ("SAC", "TD3", "DDPG", "TQC")
    ),
    Kind("SAC", "image", "arm", {"share_features_extractor": True}),
    Kind("DQN", policy={"net_arch": [4]}),
    Kind("QRDQN", policy={"n_quantiles": 7, "net_arch": []}),
    Kind("TQC", "vector", "arm", {"n_quantiles": 5}),
    Kind("CrossQ", "vector", "arm", {"batch_norm": False}),
    Kind("CrossQ", "vector", "arm", {"batch_norm_eps": 0.1, "batch_norm_momentum": 0.5}),
    Kind("RecurrentPPO", policy={"n_lstm_layers": 2, "lstm_hidden_size": 8}),
    Kind("RecurrentPPO", policy={"enable_critic_lstm": False}),
    Kind("RecurrentPPO", policy={"enable_critic_lstm": False, "shared_lstm": True}),
    Kind("RecurrentPPO", policy={"lstm_kwargs": {"bias": False}, "net_arch": {"pi": [4], "vf": []}}),
    *(Kind("ARS", "vector", "arm", {"squash_output": squash}) for squash in (True, False)),
    Kind("ARS", "vector", "arm", {"with_bias": False}),
    *(Kind("ARS", "vector", action, policy_class="LinearPolicy") for action in ("choice", "arm")),
    Kind("ARS", "vector", "arm", {"squash_output": True, "with_bias": True}, policy_class="LinearPolicy"),
]
"""Arguments of policies, each where it matters."""


def check(saved: SavedPolicy, build: Build, kind: Kind) -> None:
    """Weights, spaces and answers are the model's own."""
    model = build(kind)[0]
    own, found = model.policy.state_dict(), saved.policy.state_dict()
    assert list(own) == list(found)
    assert all(torch.equal(own[name], found[name]) for name in own)
    assert (saved.observation_space, saved.action_space) == (model.observation_space, model.action_space)
    if isinstance(model.observation_space, spaces.Dict):
        assert isinstance(saved.observation_space, spaces.Dict)
        assert list(saved.observation_space.spaces) == list(model.observation_space.spaces)
    seen = observations(model)
    asked = model.predict(seen, deterministic=True)[0]
    assert np.array_equal(saved.policy.predict(seen, deterministic=True)[0], asked)


@pytest.mark.parametrize("kind", KINDS + SETTINGS, ids=str)
def test_the_policy_is_the_one_that_was_saved(build: Build, kind: Kind) -> None:
    saved = load_policy(build(kind)[1])
    assert saved.algorithm == {"QRDQN": "QR-DQN"}.get(kind.algorithm, kind.algorithm)
    assert not saved.policy.training
    assert saved.trusted_code == ()
    check(saved, build, kind)
