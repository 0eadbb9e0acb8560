"""Files of SB3 0.x and 1.x, of old gym and numpy: also those that today's SB3 cannot open."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from steersman.export.errors import UnsupportedError
from steersman.export.reading.load import load_policy
from steersman.export.reading.spaces import as_space
from steersman.export.reading.unpickle import read_pickle
from unit.export.reading.conftest import Build
from unit.export.reading.files import (
    Fields,
    Kind,
    Weights,
    by_value,
    fields_of,
    former_pickle,
    observations,
    of_2021,
    pickled,
    rewritten,
)
from unit.export.reading.test_kinds import check

OLD = [
    Kind("PPO", "vector", "arm"),
    Kind("PPO", "image"),
    Kind("A2C", "keyed", "choices", {"net_arch": [8]}),
    Kind("DQN", "choices"),
    Kind("SAC", "vector", "arm", settings={"use_sde": True}),
    Kind("TD3", "keyed", "arm"),
    Kind("QRDQN", "switches"),
    Kind("TQC", "vector", "arm"),
    Kind("MaskablePPO", "vector", "switches"),
    Kind("RecurrentPPO", "vector"),
    Kind("ARS", "vector", "arm", policy_class="LinearPolicy"),
]


def before_1_7(weights: Weights) -> Weights:
    """Features extractors had one name each."""
    return {name: part for name, part in weights.items() if not name.startswith(("pi_feat", "vf_feat"))}


@pytest.mark.parametrize("kind", OLD, ids=str)
def test_names_of_2021_are_understood_without_gym(build: Build, tmp_path: Path, kind: Kind) -> None:
    path = of_2021(build(kind)[0], tmp_path / "old.zip", before_1_7)
    assert "gym" not in sys.modules
    saved = load_policy(path)
    check(saved, build, kind)
    assert saved.libraries == {"stable_baselines3": "1.0"}
    assert "gym" not in sys.modules


@pytest.mark.parametrize("kind", OLD[:8], ids=str)
def test_files_that_do_not_name_the_policy_s_class_open(build: Build, tmp_path: Path, kind: Kind) -> None:
    """SB3 0.x did not save it."""
    path = rewritten(build(kind)[1], tmp_path / "old.zip", lambda fields: fields.pop("policy_class"))
    check(load_policy(path), build, kind)


def test_policies_had_other_names_before_1_0(plain_zip: Path, tmp_path: Path) -> None:
    name = pickled(b"\x80\x03cstable_baselines3.ppo.policies\nPPOPolicy\nq\x00.")
    path = rewritten(plain_zip, tmp_path / "old.zip", lambda fields: fields.update(policy_class=name))
    assert type(load_policy(path).policy).__name__ == "ActorCriticPolicy"


@pytest.mark.parametrize("name", ["SAC", "TD3", "TQC"])
def test_critics_of_other_names_are_not_missed(build: Build, tmp_path: Path, name: str) -> None:
    """`predict` asks the actor alone."""

    def weigh(weights: Weights) -> Weights:
        return {part.replace("critic.qf", "critic.q_networks."): tensor for part, tensor in weights.items()}

    model, path = build(Kind(name, "vector", "arm"))
    saved = load_policy(rewritten(path, tmp_path / "old.zip", weigh=weigh))
    seen = observations(model)
    assert np.array_equal(
        saved.policy.predict(seen, deterministic=True)[0], model.predict(seen, deterministic=True)[0]
    )


def test_the_linear_policy_of_ars_was_one_layer(build: Build, tmp_path: Path) -> None:
    kind = Kind("ARS", "vector", "arm", policy_class="LinearPolicy")
    path = rewritten(
        build(kind)[1],
        tmp_path / "old.zip",
        weigh=lambda weights: {"action_net.weight": weights["action_net.0.weight"]},
    )
    check(load_policy(path), build, kind)


@pytest.mark.parametrize("name", ["SAC", "TD3"])
def test_networks_behind_a_cnn_had_no_hidden_layer_by_default(
    build: Build, tmp_path: Path, name: str
) -> None:
    kind = Kind(name, "image", "arm", {"net_arch": []})
    path = rewritten(build(kind)[1], tmp_path / "old.zip", lambda fields: fields.update(policy_kwargs={}))
    check(load_policy(path), build, kind)


class Shared(nn.Module):
    """PPO's network of SB3 1.7, written out: a shared layer, then one of the actor and none of the critic."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp_extractor = nn.ModuleDict(
            {
                "shared_net": nn.Sequential(nn.Linear(3, 6), nn.ReLU()),
                "policy_net": nn.Sequential(nn.Linear(6, 5), nn.ReLU()),
                "value_net": nn.Sequential(),
            }
        )
        self.action_net, self.value_net = nn.Linear(5, 3), nn.Linear(6, 1)

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shared = self.mlp_extractor["shared_net"](obs)
        return self.action_net(self.mlp_extractor["policy_net"](shared)), self.value_net(shared)


@pytest.mark.parametrize("name", ["PPO", "A2C", "MaskablePPO"])
def test_layers_that_actor_and_critic_share_are_built(build: Build, tmp_path: Path, name: str) -> None:
    network = Shared()
    arguments: dict[str, Any] = {"net_arch": [6, {"pi": [5], "vf": []}], "activation_fn": nn.ReLU}
    path = rewritten(
        build(Kind(name))[1],
        tmp_path / "old.zip",
        lambda fields: fields.update(policy_kwargs=pickled(former_pickle(arguments))),
        lambda _: network.state_dict(),
    )
    policy: Any = load_policy(path).policy
    seen = torch.randn(50, 3)
    logits, values = network(seen)
    assert torch.allclose(policy.predict_values(seen), values)
    assert torch.allclose(
        policy.get_distribution(seen).distribution.logits, logits.log_softmax(-1), atol=1e-6
    )


def test_a_list_of_widths_is_of_shared_layers_where_the_weights_are(build: Build, tmp_path: Path) -> None:
    """The same `net_arch` means one branch each in files of SB3 1.8 and later."""
    kind = Kind(policy={"net_arch": [4]})

    def share(weights: Weights) -> Weights:
        old = {name.replace("policy_net.", "shared_net."): tensor for name, tensor in weights.items()}
        return {name: tensor for name, tensor in old.items() if "mlp_extractor.value_net" not in name}

    separate: Any = load_policy(build(kind)[1]).policy
    shared: Any = load_policy(rewritten(build(kind)[1], tmp_path / "old.zip", weigh=share)).policy
    seen = torch.randn(9, 3)
    assert torch.equal(
        separate.get_distribution(seen).distribution.logits, shared.get_distribution(seen).distribution.logits
    )
    assert not torch.allclose(separate.predict_values(seen), shared.predict_values(seen))


def test_a_list_with_one_dictionary_is_of_branches(build: Build, tmp_path: Path) -> None:
    kind = Kind(policy={"net_arch": {"pi": [5], "vf": [4, 3]}})
    path = rewritten(
        build(kind)[1],
        tmp_path / "old.zip",
        lambda fields: fields.update(
            policy_kwargs={"net_arch": [{"pi": [5], "vf": [4, 3]}], "device": "cpu"}
        ),
    )
    check(load_policy(path), build, kind)


def test_an_argument_that_sb3_removed_is_named_unless_it_was_off(build: Build, tmp_path: Path) -> None:
    off = rewritten(
        build(Kind())[1],
        tmp_path / "off.zip",
        lambda fields: fields.update(policy_kwargs={"sde_net_arch": None}),
    )
    assert load_policy(off).algorithm == "PPO"
    on = rewritten(
        off, tmp_path / "on.zip", lambda fields: fields.update(policy_kwargs={"sde_net_arch": [64]})
    )
    with pytest.raises(UnsupportedError, match="has no argument 'sde_net_arch'"):
        load_policy(on)


def without(space: spaces.Space[Any], *names: str) -> spaces.Space[Any]:
    """The space as old gym had it: without some attributes, and with numpy's former generator."""
    for name in names:
        del space.__dict__[name]
    space.__dict__["_np_random"] = np.random.RandomState(1)
    return space


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (without(spaces.Discrete(3), "start"), spaces.Discrete(3)),
        (without(spaces.MultiDiscrete([2, 3]), "start", "dtype"), spaces.MultiDiscrete([2, 3])),
        (without(spaces.MultiBinary(4), "_shape"), spaces.MultiBinary(4)),
        (without(spaces.Box(-1, 1, (2,)), "_shape", "bounded_below", "low_repr"), spaces.Box(-1, 1, (2,))),
    ],
    ids=lambda space: type(space).__name__,
)
def test_spaces_without_later_fields_are_read(kept: spaces.Space[Any], expected: spaces.Space[Any]) -> None:
    old = former_pickle(kept)
    assert b"gym.spaces" in old
    assert b"randomstate_ctor" in old
    assert as_space(read_pickle(old, "here"), "here") == expected


def test_an_infinity_that_old_gym_lost_in_an_integer_is_found_again(build: Build, tmp_path: Path) -> None:
    space = spaces.Box(0, 9, (3,), np.int32)
    space.high = np.full(3, np.iinfo(np.int32).min, np.int32)
    path = rewritten(
        build(Kind())[1],
        tmp_path / "old.zip",
        lambda fields: fields.update(observation_space=by_value(space)),
    )
    found = load_policy(path).observation_space
    assert isinstance(found, spaces.Box)
    assert (found.high == np.iinfo(np.int32).max).all()


def test_newer_fields_are_not_needed(build: Build, tmp_path: Path) -> None:
    needed = {"policy_class", "policy_kwargs", "observation_space", "action_space", "clip_range", "n_epochs"}

    def strip(fields: Fields) -> None:
        for name in set(fields) - needed:
            del fields[name]

    path = rewritten(build(Kind())[1], tmp_path / "old.zip", strip)
    assert set(fields_of(path)) == needed
    saved = load_policy(path)
    assert (saved.algorithm, saved.train_steps) == ("PPO", None)
