"""VecNormalize: its arithmetic bit for bit, and its files."""

from __future__ import annotations

import pickle
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from steersman.bundle.errors import SteersmanError
from steersman.export.policies.modules import ObservationReader
from steersman.export.reading.normalizer import Normalizer, load_normalizer
from unit.export.conftest import NORMALIZED, Train
from unit.export.models import DRIFT
from unit.export.test_unpickle import bomb

finite = st.floats(-1e12, 1e12, width=64)


@given(
    arrays.arrays("f4", (7, 3), elements=st.floats(-1e6, 1e6, width=32)),
    arrays.arrays("f8", (3,), elements=finite),
    arrays.arrays("f8", (3,), elements=st.floats(0, 1e12)),
    st.sampled_from([0.5, 5.0, 10.0]),
)
def test_the_arithmetic_is_vecnormalize_s_own(
    observations: np.ndarray, mean: np.ndarray, var: np.ndarray, clip: float
) -> None:
    envs = VecNormalize(DummyVecEnv([lambda: gymnasium.make(DRIFT)]), clip_obs=clip)
    statistics = RunningMeanStd(shape=(3,))
    statistics.mean, statistics.var = mean, var
    envs.obs_rms = statistics  # type: ignore[assignment]
    expected = envs.normalize_obs(observations)
    assert isinstance(expected, np.ndarray)
    normalizer = Normalizer(mean, var, envs.epsilon, clip)
    assert normalizer(observations).tobytes() == expected.tobytes()
    in_graph = ObservationReader(normalizer)(torch.from_numpy(observations)).numpy()
    assert in_graph.tobytes() == expected.tobytes()


def test_a_saved_file_is_read_without_running_it(trained: Train) -> None:
    model = trained(NORMALIZED)
    assert model.vecnormalize
    assert model.normalizer
    space = model.model.observation_space
    assert isinstance(space, spaces.Box)
    normalizer = load_normalizer(model.vecnormalize, space)
    assert normalizer
    observations = np.stack([space.sample() for _ in range(50)])
    assert (normalizer(observations) == model.normalizer.normalize_obs(observations)).all()


def test_statistics_that_are_switched_off_change_nothing(tmp_path: Path) -> None:
    envs = VecNormalize(DummyVecEnv([lambda: gymnasium.make(DRIFT)]), norm_obs=False)
    envs.save(str(tmp_path / "vecnormalize.pkl"))
    assert load_normalizer(tmp_path / "vecnormalize.pkl", spaces.Box(-5, 5, (3,))) is None


@pytest.mark.parametrize(
    ("content", "expected", "exit_code"),
    [
        (None, "cannot be read", 2),
        (b"", "the pickle cannot be read", 1),
        (pickle.dumps({"mean": 0}), "it holds dict", 2),
        (pickle.dumps(spaces.Discrete(2)), "it holds gymnasium.spaces.discrete.Discrete", 2),
        (pickle.dumps(RunningMeanStd(shape=(3,))), "RunningMeanStd", 2),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, content: bytes | None, expected: str, exit_code: int
) -> None:
    path = tmp_path / "vecnormalize.pkl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SteersmanError, match=expected) as caught:
        load_normalizer(path, spaces.Box(-5, 5, (3,)))
    assert caught.value.exit_code == exit_code


def test_statistics_of_another_shape_are_refused(trained: Train) -> None:
    file = trained(NORMALIZED).vecnormalize
    assert file
    with pytest.raises(SteersmanError, match=r"shape \(4,\); expected \(3,\)") as caught:
        load_normalizer(file, spaces.Box(-5, 5, (3,)))
    assert caught.value.exit_code == 2


def test_a_bomb_does_not_go_off(tmp_path: Path) -> None:
    path = tmp_path / "vecnormalize.pkl"
    path.write_bytes(bomb(tmp_path / "ran"))
    with pytest.raises(SteersmanError, match=r"posix\.system"):
        load_normalizer(path, spaces.Box(-5, 5, (3,)))
    assert not (tmp_path / "ran").exists()
