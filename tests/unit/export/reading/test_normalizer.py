"""VecNormalize: its arithmetic bit for bit, and its files of every age."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from steersman.bundle.errors import SteersmanError
from steersman.export.policies.preparation import Preparation
from steersman.export.policies.reader import ObservationReader
from steersman.export.reading.normalizer import Normalizer, Statistics, load_normalizer
from unit.export.reading.files import bomb, former_pickle

VECTOR = spaces.Box(-5, 5, (3,), np.float32)
KEYED = spaces.Dict(
    [
        ("speed", VECTOR),
        ("camera", spaces.Box(0, 255, (4, 5, 3), np.uint8)),
        ("gear", spaces.Discrete(3)),
    ]
)


class Quiet(gymnasium.Env[Any, Any]):
    """Has spaces, and nothing happens in it."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space = space


def wrapper(space: spaces.Space[Any] = VECTOR, **settings: Any) -> VecNormalize:
    """VecNormalize with statistics of a few samples."""
    envs = VecNormalize(DummyVecEnv([lambda: Quiet(space)]), **settings)
    running: Any = getattr(envs, "obs_rms", {})
    for name, statistics in running.items() if isinstance(running, dict) else [("", running)]:
        part = space[name] if isinstance(space, spaces.Dict) else space
        part.seed(1)
        statistics.update(np.stack([part.sample() for _ in range(40)]).astype(np.float64))
    return envs


def saved(envs: VecNormalize, path: Path) -> Path:
    """The wrapper as its `save` writes it."""
    envs.save(str(path))
    return path


@settings(deadline=None)
@given(
    arrays.arrays("f4", (7, 3), elements=st.floats(-1e6, 1e6, width=32)),
    arrays.arrays("f8", (3,), elements=st.floats(-1e12, 1e12, width=64)),
    arrays.arrays("f8", (3,), elements=st.floats(0, 1e12)),
    st.sampled_from([0.5, 5.0, 10.0]),
)
def test_the_arithmetic_is_vecnormalize_s_own(
    observations: np.ndarray[Any, Any], mean: np.ndarray[Any, Any], var: np.ndarray[Any, Any], clip: float
) -> None:
    envs = wrapper(clip_obs=clip)
    running: Any = envs.obs_rms
    running.mean, running.var = mean, var
    expected = envs.normalize_obs(observations)
    assert isinstance(expected, np.ndarray)
    normalizer = Normalizer({"obs": Statistics(mean, var, envs.epsilon)}, clip)
    assert normalizer({"obs": observations})["obs"].tobytes() == expected.tobytes()
    in_graph = ObservationReader(Preparation(normalizer=normalizer), VECTOR, normalize_images=True)
    assert in_graph(torch.from_numpy(observations)).numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("write", [pickle.dumps, former_pickle], ids=["today", "of 2021"])
@pytest.mark.parametrize("epsilon", [1e-8, 1e-2])
def test_a_file_says_what_the_wrapper_does(tmp_path: Path, write: Any, epsilon: float) -> None:
    envs = wrapper(clip_obs=0.8, epsilon=epsilon)
    (tmp_path / "vecnormalize.pkl").write_bytes(write(envs))
    normalizer = load_normalizer(tmp_path / "vecnormalize.pkl", VECTOR)
    assert normalizer
    observations = np.stack([VECTOR.sample() for _ in range(50)])
    expected: Any = envs.normalize_obs(observations)
    assert np.array_equal(normalizer({"obs": observations})["obs"], expected)


@pytest.mark.parametrize("keys", [["speed"], ["camera", "speed"]])
def test_of_a_dict_the_keys_that_are_normalized_are_and_others_pass(tmp_path: Path, keys: list[str]) -> None:
    envs = wrapper(KEYED, norm_obs_keys=keys)
    first = spaces.Dict({**KEYED.spaces, "camera": spaces.Box(0, 255, (3, 4, 5), np.uint8)})
    normalizer = load_normalizer(saved(envs, tmp_path / "vecnormalize.pkl"), first)
    assert normalizer
    assert set(normalizer.statistics) == {f"obs/{key}" for key in keys}
    raw = {name: np.stack([part.sample() for _ in range(9)]) for name, part in KEYED.spaces.items()}
    expected = envs.normalize_obs(dict(raw))
    assert isinstance(expected, Mapping)
    found = normalizer({f"obs/{name}": array for name, array in raw.items()})
    assert all(np.array_equal(found[f"obs/{name}"], array) for name, array in expected.items())


def test_before_1_3_a_dict_was_normalized_whole(tmp_path: Path) -> None:
    envs = wrapper(KEYED, norm_obs_keys=["speed", "camera"])
    delattr(envs, "norm_obs_keys")
    normalizer = load_normalizer(saved(envs, tmp_path / "vecnormalize.pkl"), KEYED)
    assert normalizer
    assert set(normalizer.statistics) == {"obs/speed", "obs/camera"}


@pytest.mark.parametrize(
    "settings", [{"norm_obs": False}, {"space": KEYED, "norm_obs_keys": []}], ids=["off", "no key"]
)
def test_statistics_that_are_switched_off_change_nothing(tmp_path: Path, settings: dict[str, Any]) -> None:
    path = saved(wrapper(**settings), tmp_path / "vecnormalize.pkl")
    assert load_normalizer(path, settings.get("space", VECTOR)) is None


@pytest.mark.parametrize("packed", [lambda running: running, lambda running: {"obs_rms": running}])
def test_running_statistics_alone_are_taken_with_the_default_settings(tmp_path: Path, packed: Any) -> None:
    envs = wrapper()
    (tmp_path / "obs_rms.pkl").write_bytes(pickle.dumps(packed(envs.obs_rms)))
    normalizer = load_normalizer(tmp_path / "obs_rms.pkl", VECTOR)
    assert normalizer
    assert normalizer.clip == envs.clip_obs
    observations = np.stack([VECTOR.sample() for _ in range(50)])
    expected: Any = envs.normalize_obs(observations)
    assert np.array_equal(normalizer({"obs": observations})["obs"], expected)


def spoilt(mean: float, var: float) -> bytes:
    running = RunningMeanStd(shape=(3,))
    running.mean[1], running.var[1] = mean, var
    return pickle.dumps(running)


@pytest.mark.parametrize(
    ("content", "expected", "exit_code"),
    [
        (None, "cannot be read", 2),
        (b"", "this is not a pickle", 2),
        (b"hello", "this is not a pickle", 2),
        (pickle.dumps(RunningMeanStd())[:-9], "the pickle cannot be read", 1),
        (pickle.dumps({"mean": 0}), "it holds dict", 2),
        (pickle.dumps(spaces.Discrete(2)), "it holds gymnasium.spaces.discrete.Discrete", 2),
        (pickle.dumps({"obs_rms": 3}), "holds no running mean and variance", 1),
        (spoilt(np.nan, 1), "holds no running mean and variance", 1),
        (spoilt(0, -1), "holds no running mean and variance", 1),
        (pickle.dumps(RunningMeanStd(shape=(4,))), r"shape \(4,\); expected \(3,\)", 2),
        (pickle.dumps({"obs_rms": {"speed": RunningMeanStd(shape=(3,))}}), "no such observation", 2),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, content: bytes | None, expected: str, exit_code: int
) -> None:
    path = tmp_path / "vecnormalize.pkl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SteersmanError, match=expected) as caught:
        load_normalizer(path, VECTOR)
    assert caught.value.exit_code == exit_code
    assert "\n" not in str(caught.value)


def test_a_bomb_does_not_go_off(tmp_path: Path) -> None:
    path = tmp_path / "vecnormalize.pkl"
    path.write_bytes(bomb(tmp_path / "ran"))
    with pytest.raises(SteersmanError, match=r"posix\.system"):
        load_normalizer(path, VECTOR)
    assert not (tmp_path / "ran").exists()
