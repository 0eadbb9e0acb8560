"""`--trust-code`: only then does code of the user's run, and bytecode of another Python never does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from steersman.export.errors import ExportUsageError, UnsafePickleError, UnsupportedError
from steersman.export.reading.load import load_policy
from steersman.export.reading.normalizer import load_normalizer
from steersman.export.reading.trusted import TrustedCode, TrustedReading
from unit.export.reading.conftest import Build
from unit.export.reading.files import (
    OBSERVATIONS,
    Kind,
    Still,
    bomb,
    former_pickle,
    observations,
    pickled,
    rewritten,
)

MODULE = "pilot_networks"
CODE = """
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize


class Extractor(BaseFeaturesExtractor):
    def __init__(self, space, features_dim=4):
        super().__init__(space, features_dim)
        self.layer = torch.nn.Linear(space.shape[0], features_dim)

    def forward(self, observations):
        return torch.sin(self.layer(observations))


class Wave(torch.nn.Module):
    def forward(self, x):
        return torch.cos(x)


class Pilot(ActorCriticPolicy):
    pass


class Norm(VecNormalize):
    pass


class OwnNorm(VecNormalize):
    def _normalize_obs(self, obs, obs_rms):
        return obs
"""


@pytest.fixture
def networks(tmp_path: Path) -> Iterator[Any]:
    """A module of the user's, imported; it is forgotten when the test is over."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(CODE)
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    __import__(MODULE)
    yield sys.modules[MODULE]
    sys.path[:] = before
    sys.modules.pop(MODULE, None)


def saved_statistics(kind: type[VecNormalize], path: Path) -> VecNormalize:
    """Statistics in a class of the user's."""
    envs = kind(DummyVecEnv([lambda: Still("vector", "choice")]), clip_obs=0.5, epsilon=1e-3)
    running: Any = envs.obs_rms
    running.update(np.arange(12.0).reshape(4, 3))
    envs.save(str(path))
    return envs


def test_statistics_in_a_class_of_the_user_s_are_read_only_with_leave(networks: Any, tmp_path: Path) -> None:
    path, space = tmp_path / "vecnormalize.pkl", OBSERVATIONS["vector"]()
    envs = saved_statistics(networks.Norm, path)
    forget()
    with pytest.raises(UnsafePickleError, match=rf"it names '{MODULE}\.Norm'.*--trust-code"):
        load_normalizer(path, space)
    assert MODULE not in sys.modules
    reading = TrustedReading(TrustedCode((tmp_path / "modules",)), None)
    normalizer = load_normalizer(path, space, reading)
    assert normalizer
    assert reading.used == {f"{MODULE}.Norm"}
    seen = np.ones((5, 3), np.float32)
    assert np.array_equal(normalizer({"obs": seen})["obs"], np.asarray(envs.normalize_obs(seen)))


def test_statistics_of_a_class_with_an_arithmetic_of_its_own_are_refused(
    networks: Any, tmp_path: Path
) -> None:
    path = tmp_path / "vecnormalize.pkl"
    saved_statistics(networks.OwnNorm, path)
    with pytest.raises(UnsupportedError, match=r"OwnNorm has a _normalize_obs of its own.*Copy obs_rms"):
        load_normalizer(path, OBSERVATIONS["vector"](), TrustedReading(TrustedCode(), None))


def forget() -> None:
    """As in another process: the module is neither imported nor on the path."""
    sys.modules.pop(MODULE, None)
    sys.path[:] = [folder for folder in sys.path if not folder.endswith("modules")]


def saved_own(networks: Any, path: Path) -> BaseAlgorithm:
    """A model with a policy, an extractor and an activation of the user's."""
    arguments = {
        "features_extractor_class": networks.Extractor,
        "features_extractor_kwargs": {"features_dim": 5},
        "activation_fn": networks.Wave,
    }
    model = Kind(policy=arguments, policy_class=networks.Pilot).build()
    model.save(path)
    return model


def test_modules_are_imported_only_with_leave(networks: Any, tmp_path: Path) -> None:
    path, folder = tmp_path / "own.zip", tmp_path / "modules"
    model = saved_own(networks, path)
    forget()
    with pytest.raises(UnsafePickleError, match=rf"policy_class: it names '{MODULE}\.Pilot'.*--trust-code"):
        load_policy(path)
    assert MODULE not in sys.modules
    with pytest.raises(ExportUsageError, match=r"No module named 'pilot_networks'\. .*--import-path"):
        load_policy(path, trust=TrustedCode())
    saved = load_policy(path, trust=TrustedCode((folder,)))
    assert saved.algorithm == "PPO"
    assert saved.trusted_code == tuple(f"{MODULE}.{name}" for name in ("Extractor", "Pilot", "Wave"))
    seen = observations(model)
    assert (
        saved.policy.predict(seen, deterministic=True)[0] == model.predict(seen, deterministic=True)[0]
    ).all()


def by_value(networks: Any, path: Path) -> None:
    """A model whose classes are in the file itself, as those of a notebook are."""
    cloudpickle.register_pickle_by_value(networks)
    try:
        saved_own(networks, path)
    finally:
        cloudpickle.unregister_pickle_by_value(networks)


def test_classes_in_the_file_itself_run_only_with_leave(networks: Any, tmp_path: Path) -> None:
    by_value(networks, tmp_path / "own.zip")
    forget()
    with pytest.raises(UnsafePickleError, match=r"holds a class or function by value.*--trust-code"):
        load_policy(tmp_path / "own.zip")
    saved = load_policy(tmp_path / "own.zip", trust=TrustedCode())
    assert f"{MODULE}.Extractor (by value)" in saved.trusted_code
    assert MODULE not in sys.modules
    assert saved.policy.predict(torch.zeros(1, 3).numpy(), deterministic=True)[0].shape == (1,)


@pytest.mark.parametrize("system", [b"- Python: 3.8.6\n", None], ids=["Python 3.8", "not said"])
def test_bytecode_of_another_python_is_refused_before_it_crashes(
    networks: Any, tmp_path: Path, system: bytes | None
) -> None:
    by_value(networks, tmp_path / "own.zip")
    path = rewritten(tmp_path / "own.zip", tmp_path / "old.zip", members={"system_info.txt": system})
    with pytest.raises(UnsafePickleError, match=r"bytecode.*expected a file of Python 3\.\d+\."):
        load_policy(path, trust=TrustedCode())


@pytest.mark.parametrize(
    "name", [b"types\nCodeType", b"builtins\ncode", b"cloudpickle.cloudpickle\n_make_skel_func"]
)
def test_bytecode_is_found_by_any_name(build: Build, tmp_path: Path, name: bytes) -> None:
    planted = pickled(b"c" + name + b"\n.")
    members = {"system_info.txt": b"- Python: 3.7.1\n"}
    path = rewritten(
        build(Kind())[1], tmp_path / "old.zip", lambda f: f.update(policy_kwargs=planted), members=members
    )
    with pytest.raises(UnsafePickleError, match="bytecode"):
        load_policy(path, trust=TrustedCode())


@pytest.mark.parametrize("field", ["observation_space", "action_space"])
def test_leave_is_not_for_fields_that_hold_no_code(build: Build, tmp_path: Path, field: str) -> None:
    planted = {field: pickled(bomb(tmp_path / "ran"))}
    path = rewritten(build(Kind())[1], tmp_path / "planted.zip", lambda fields: fields.update(planted))
    with pytest.raises(UnsafePickleError, match=r"posix\.system"):
        load_policy(path, trust=TrustedCode())
    assert not (tmp_path / "ran").exists()


def test_files_that_need_no_leave_make_no_use_of_it(plain_zip: Path) -> None:
    assert load_policy(plain_zip, trust=TrustedCode()).trusted_code == ()


def test_old_names_of_gym_are_understood_there_too(networks: Any, build: Build, tmp_path: Path) -> None:
    data = former_pickle({"activation_fn": networks.Wave, "space_class": spaces.Box})
    assert b"gym.spaces" in data
    path = rewritten(build(Kind())[1], tmp_path / "m.zip", lambda f: f.update(policy_kwargs=pickled(data)))
    with pytest.raises(UnsupportedError, match="ActorCriticPolicy has no argument 'space_class'"):
        load_policy(path, trust=TrustedCode())


def test_code_that_fails_ends_in_one_line(networks: Any, tmp_path: Path) -> None:
    saved_own(networks, tmp_path / "own.zip")
    (tmp_path / "modules" / f"{MODULE}.py").write_text("raise RuntimeError('no\\ngo')")
    sys.modules.pop(MODULE)
    with pytest.raises(ExportUsageError, match=r"the trusted code cannot be imported: no go\.") as caught:
        load_policy(tmp_path / "own.zip", trust=TrustedCode())
    assert "\n" not in str(caught.value)
