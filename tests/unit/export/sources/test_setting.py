"""What callers send: the environment's own observations, or what can be told from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from steersman.bundle.errors import SteersmanError
from steersman.export.sources.environments import candidates, find_id
from steersman.export.sources.layout import channels_last, same_actions
from unit.export.sources.conftest import Zip
from unit.export.sources.worlds import WORLD, Prepared, World, save, world

LARGEST = float(np.finfo(np.float32).max)


def test_images_of_an_environment_keep_their_channels_where_they_are(zipped: Zip) -> None:
    prepared = Prepared(zipped("image", observation="image"), **world(observation="image"))
    assert prepared.contract.observations[0].shape == (36, 40, 3)
    assert prepared.setting.preparation.channels_last == {"obs"}
    assert prepared.saved.observation_space.shape == (3, 36, 40)


def test_without_an_environment_images_are_as_sb3_has_them_or_as_asked(zipped: Zip) -> None:
    file = zipped("image", observation="image")
    assert Prepared(file).contract.observations[0].shape == (3, 36, 40)
    prepared = Prepared(file, image_layout="channels-last")
    assert prepared.contract.observations[0].shape == (36, 40, 3)
    rows = np.zeros((2, 36, 40, 3), np.uint8)
    assert prepared.setting.preparation({"obs": rows}).shape == (2, 3, 36, 40)


def test_in_a_dict_only_images_are_turned(zipped: Zip) -> None:
    file = zipped("A2C", observation="mixed")
    for prepared in (
        Prepared(file, **world(observation="mixed")),
        Prepared(file, image_layout="channels-last"),
    ):
        shapes = {spec.key: spec.shape for spec in prepared.contract.observations}
        assert shapes == {"eye": (36, 40, 1), "body": (3,)}
        assert prepared.setting.preparation.channels_last == {"obs/eye"}
        assert list(shapes) == list(prepared.saved.observation_space.spaces)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("observation", "layout", "expected"),
    [
        ("image", "channels-first", "have their channels last"),
        ("vector", "channels-last", "there are no images"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(
    zipped: Zip, observation: str, layout: str, expected: str
) -> None:
    file = zipped("image" if observation == "image" else "PPO", observation=observation)
    with pytest.raises(SteersmanError, match=expected):
        Prepared(file, image_layout=layout, **world(observation=observation))


def test_images_behind_normalization_are_sent_raw(tmp_path: Path) -> None:
    envs = VecNormalize(DummyVecEnv([lambda: gymnasium.make(WORLD, observation="image")]), norm_reward=False)
    model = PPO("MlpPolicy", envs, n_steps=8, batch_size=8, n_epochs=1, device="cpu")
    model.learn(8)
    envs.save(str(tmp_path / "statistics.pkl"))
    prepared = Prepared(
        save(model, tmp_path), vecnormalize=tmp_path / "statistics.pkl", **world(observation="image")
    )
    spec = prepared.contract.observations[0]
    assert (spec.dtype, spec.shape, spec.high) == ("uint8", (36, 40, 3), (255,))


def test_element_types_are_the_environment_s_own(zipped: Zip) -> None:
    class Single(World):
        """As the world was, before it was doubled."""

        def __init__(self) -> None:
            super().__init__()
            self.observation_space = self.seen = spaces.Box(-5, 5, (3,), np.float32)

    file = zipped(env=Single())
    assert Prepared(file).contract.observations[0].dtype == "float32"
    assert Prepared(file, **world(observation="double")).contract.observations[0].dtype == "float64"


@pytest.mark.parametrize(
    ("own", "given", "fits"),
    [
        (spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(-1, 1, (2,)), True),
        (spaces.Box(-LARGEST, LARGEST, (2,)), spaces.Box(-np.inf, np.inf, (2,)), True),
        (spaces.Box(-1, 1, (2,)), spaces.Box(-np.inf, np.inf, (2,)), False),
        (spaces.Box(-1, 1, (2,)), spaces.Box(-2, 2, (2,)), False),
        (spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (2,), np.float64), True),
        (spaces.Box(0, 9, (2,), np.int64), spaces.Box(0, 9, (2,), np.int32), True),
        (spaces.Box(0, 9, (2,), np.int64), spaces.Box(0, 9, (2,)), False),
        (spaces.Box(0, 255, (3, 8, 9), np.uint8), spaces.Box(0, 255, (8, 9, 3), np.uint8), True),
        (spaces.Box(0, 1, (3, 8, 9)), spaces.Box(0, 1, (8, 9, 3)), False),
        (spaces.Discrete(3), spaces.Discrete(3), True),
        (spaces.Discrete(3), spaces.Discrete(4), False),
        (spaces.Discrete(3), spaces.MultiDiscrete([3]), False),
        (spaces.MultiBinary(3), spaces.MultiBinary(3), True),
        (spaces.Dict({"a": spaces.Discrete(2)}), spaces.Dict({"b": spaces.Discrete(2)}), False),
        (spaces.Dict({"a": spaces.Discrete(2)}), spaces.Dict({"a": spaces.Discrete(2)}), True),
    ],
)
def test_which_observations_a_policy_takes(own: Any, given: Any, fits: bool) -> None:
    assert (channels_last(given, own) is not None) == fits


@pytest.mark.parametrize(
    ("own", "taken", "fits"),
    [
        (spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (2,), np.float64), True),
        (spaces.Box(-1, 1, (2,)), spaces.Box(-2, 2, (2,)), False),
        (spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (3,)), False),
        (spaces.Discrete(3), spaces.Discrete(3, start=1), False),
        (spaces.MultiBinary(2), spaces.MultiBinary(2), True),
    ],
)
def test_which_actions_an_environment_takes(own: Any, taken: Any, fits: bool) -> None:
    assert same_actions(taken, own) == fits


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"env_id": "CartPole-v11"}, "no environment is registered.*CartPole-v1"),
        ({"env_id": "LunarLander-v2"}, "Did you mean LunarLander-v3"),
        ({"env_id": "CartPole-v1"}, r"its observation space is Box.*the policy's, Box"),
        (world(action="push"), r"its action space is Box.*the policy's, Discrete\(3\)"),
        (world(color=1), "cannot be made or reset: TypeError"),
        ({"env_id": "X-v0", "env_import": "no_such_module"}, "--env-import no_such_module"),
        ({"env_id": "no_such_module:X-v0"}, "--env no_such_module"),
    ],
)
def test_wrong_environments_are_refused(zipped: Zip, asked: Any, expected: str) -> None:
    with pytest.raises(SteersmanError, match=expected) as caught:
        Prepared(zipped(), **asked)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_environments_are_found_by_module_and_without_a_version(zipped: Zip) -> None:
    prepared = Prepared(zipped(), env_id=f"unit.export.sources.worlds:{WORLD}", env_import="json")
    assert prepared.setting.stage is not None
    assert prepared.setting.stage.id == WORLD
    assert find_id("CartPole") == "CartPole-v1"


def test_later_versions_are_candidates_nearest_first() -> None:
    assert candidates("Pendulum-v0") == ("Pendulum-v1",)
    assert candidates("CartPole-v1") == ("CartPole-v1",)
    assert candidates("Hopper-v3") == ("Hopper-v3", "Hopper-v4", "Hopper-v5")
    assert candidates("HopperBulletEnv-v0") == ()


def test_an_environment_without_masks_is_mentioned(tmp_path: Path) -> None:
    from sb3_contrib import MaskablePPO

    file = save(MaskablePPO("MlpPolicy", "CartPole-v1", device="cpu"), tmp_path)
    (note,) = Prepared(file, env_id="CartPole-v1").setting.notes
    assert "has no method action_masks" in note


def test_statistics_tell_where_images_have_their_channels(zipped: Zip, tmp_path: Path) -> None:
    file = zipped("image", observation="image")
    envs = VecNormalize(DummyVecEnv([lambda: gymnasium.make(WORLD, observation="image")]), norm_reward=False)
    envs.save(str(tmp_path / "statistics.pkl"))
    with pytest.raises(SteersmanError, match=r"channels last, \(36, 40, 3\).*--image-layout") as caught:
        Prepared(file, vecnormalize=tmp_path / "statistics.pkl")
    assert caught.value.exit_code == 2
    prepared = Prepared(file, vecnormalize=tmp_path / "statistics.pkl", image_layout="channels-last")
    rows = {"obs": np.full((2, 36, 40, 3), 9, np.uint8)}
    assert prepared.setting.preparation(rows).shape == (2, 3, 36, 40)


@pytest.mark.parametrize(
    ("space", "name"),
    [
        (spaces.Discrete(4, start=3), r"obs: Discrete\(4, start=3\)"),
        (spaces.MultiDiscrete([3, 2], start=[0, 1]), "obs: MultiDiscrete"),
        (spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(2, start=1)}), "obs/b: Discrete"),
    ],
)
def test_whole_numbers_that_sb3_counts_otherwise_are_refused(tmp_path: Path, space: Any, name: str) -> None:
    class Counted(World):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = space

    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    file = save(PPO(policy, Counted(), device="cpu"), tmp_path)
    with pytest.raises(SteersmanError, match=f"{name}.* SB3 counts them from 0") as caught:
        Prepared(file)
    assert caught.value.exit_code == 2
