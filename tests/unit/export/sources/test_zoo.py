"""Run folders of rl-baselines3-zoo, new and old, of which nothing is run."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from datetime import date
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import yaml
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from steersman.bundle.errors import SteersmanError
from steersman.export.sources.source import Source, find_source
from unit.export.sources.conftest import Zip
from unit.export.sources.worlds import Prepared, World, asked, save

ARGUMENTS: dict[str, Any] = {
    "algo": "ppo",
    "env": "Pendulum-v1",
    "env_kwargs": None,
    "gym_packages": [],
    "seed": 3,
}
CONFIG = {"policy": "MlpPolicy", "n_timesteps": 1000.0, "policy_kwargs": "dict(net_arch=[8])"}


def zoo_run(
    root: Path,
    config: dict[str, Any] | None = None,
    *,
    models: tuple[str, ...] = ("Pendulum-v1", "best_model"),
    statistics: bool = False,
    **arguments: Any,
) -> Path:
    """A folder as the zoo writes it; the zips are empty."""
    run = root / "ppo" / "Pendulum-v1_1"
    details = run / "Pendulum-v1"
    details.mkdir(parents=True)
    for name, content in (("args", ARGUMENTS | arguments), ("config", CONFIG | (config or {}))):
        (details / f"{name}.yml").write_text(yaml.dump(OrderedDict(content)))
    for model in models:
        (run / f"{model}.zip").touch()
    if statistics:
        (details / "vecnormalize.pkl").touch()
    return run


def found(path: Path, **more: Any) -> Source:
    return find_source(asked(path, **more))


def test_the_best_model_is_taken_with_all_that_the_run_knows(tmp_path: Path) -> None:
    run = zoo_run(
        tmp_path, {"normalize": True}, statistics=True, env_kwargs={"g": 9.81, "render_mode": "human"}
    )
    np.savez(run / "evaluations.npz", results=np.array([[1.0, 2], [5, 7]]), timesteps=np.array([10, 20]))
    source = found(run)
    assert source.zip == run / "best_model.zip"
    assert source.vecnormalize == run / "Pendulum-v1" / "vecnormalize.pkl"
    assert (source.algo, source.env_id, source.env_kwargs) == ("ppo", "Pendulum-v1", {"g": 9.81})
    assert (source.run, source.policy_name, source.mean_return) == ("Pendulum-v1_1", "pendulum", 6.0)
    assert not source.env_required


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (("Pendulum-v1",), "Pendulum-v1.zip"),
        (("rl_model_900_steps", "rl_model_20000_steps"), "rl_model_20000_steps.zip"),
        (("rl_model_900_steps", "Pendulum-v1"), "Pendulum-v1.zip"),
    ],
)
def test_without_a_best_model_the_last_is_taken(
    tmp_path: Path, models: tuple[str, ...], expected: str
) -> None:
    assert found(zoo_run(tmp_path, models=models)).zip.name == expected


def test_a_zip_of_a_run_is_that_run_with_this_model(tmp_path: Path) -> None:
    run = zoo_run(tmp_path, {"normalize": "{'norm_obs': True, 'norm_reward': False}"}, statistics=True)
    for model in ("Pendulum-v1", "best_model"):
        source = found(run / f"{model}.zip")
        assert (source.zip.stem, source.env_id) == (model, "Pendulum-v1")
        assert source.vecnormalize == run / "Pendulum-v1" / "vecnormalize.pkl"
    assert found(run / "Pendulum-v1").zip.name == "best_model.zip"


def test_all_in_one_folder_as_on_the_hub(tmp_path: Path) -> None:
    run = zoo_run(tmp_path, {"normalize": True}, models=("ppo-Pendulum-v1",))
    flat = tmp_path / "ppo-Pendulum-v1"
    flat.mkdir()
    for file in (run / "ppo-Pendulum-v1.zip", *(run / "Pendulum-v1").iterdir()):
        file.rename(flat / file.name)
    (flat / "vec_normalize.pkl").touch()
    (flat / "env_kwargs.yml").write_text("g: 1.5")
    source = found(flat)
    assert (source.zip.name, source.env_kwargs) == ("ppo-Pendulum-v1.zip", {"g": 1.5})
    assert source.vecnormalize == flat / "vec_normalize.pkl"


def test_older_runs_lie_beside_each_other(tmp_path: Path) -> None:
    for env_id in ("Pendulum-v0", "CartPole-v1"):
        (tmp_path / env_id).mkdir()
        (tmp_path / env_id / "config.yml").write_text("normalize: false")
        (tmp_path / f"{env_id}.zip").touch()
    assert found(tmp_path / "CartPole-v1.zip").env_id == "CartPole-v1"
    with pytest.raises(SteersmanError, match="about several environments: CartPole-v1, Pendulum-v0"):
        found(tmp_path)


def test_a_zip_of_a_run_says_which_files_were_used(tmp_path: Path) -> None:
    run = zoo_run(tmp_path, {"normalize": True}, models=("best_model", "rl_model_900_steps"), statistics=True)
    details = run / "Pendulum-v1"
    for model in ("best_model", "rl_model_900_steps"):
        (note,) = found(run / f"{model}.zip").notes
        assert all(str(details / name) in note for name in ("args.yml", "config.yml", "vecnormalize.pkl"))
    assert not found(run).notes
    assert "vecnormalize" not in found(run / "best_model.zip", vecnormalize=tmp_path / "mine.pkl").notes[0]


@pytest.mark.parametrize(
    ("folder", "zip_name"),
    [
        ("downloads", "mine"),
        ("downloads", "best_model"),
        ("Other-v1_1", "best_model"),
        ("Pendulum-v1_1", "mine"),
    ],
)
def test_the_run_of_somebody_else_in_the_next_folder_is_not_used(
    tmp_path: Path, folder: str, zip_name: str
) -> None:
    run = zoo_run(tmp_path, {"normalize": True}, models=(zip_name,), statistics=True)
    run = run.rename(tmp_path / folder)
    source = found(run / f"{zip_name}.zip")
    assert (source.env_id, source.vecnormalize, source.run) == (None, None, None)
    (note,) = source.notes
    assert f"{run / 'Pendulum-v1'}: not used, as nothing says that {zip_name}.zip is of that run" in note


def test_the_model_of_somebody_else_above_the_details_is_not_taken(tmp_path: Path) -> None:
    details = zoo_run(tmp_path, models=("best_model",)).rename(tmp_path / "downloads") / "Pendulum-v1"
    with pytest.raises(SteersmanError, match="saved no model"):
        found(details)


def test_without_a_config_statistics_count_for_being_there(tmp_path: Path) -> None:
    run = zoo_run(tmp_path, statistics=True)
    (run / "Pendulum-v1" / "config.yml").unlink()
    source = found(run)
    assert source.vecnormalize == run / "Pendulum-v1" / "vecnormalize.pkl"
    assert "there is no config.yml" in source.notes[0]


def test_statistics_that_the_config_leaves_out_are_mentioned(tmp_path: Path) -> None:
    run = zoo_run(tmp_path, statistics=True)
    source = found(run)
    assert source.vecnormalize is None
    assert source.notes == (
        f"{run / 'Pendulum-v1' / 'vecnormalize.pkl'} was not used, as config.yml does not say normalize",
    )


@pytest.mark.parametrize(
    "normalize", [False, "{'norm_obs': False, 'norm_reward': True}", {"norm_obs": False}]
)
def test_rewards_alone_need_no_statistics(tmp_path: Path, normalize: Any) -> None:
    assert found(zoo_run(tmp_path, {"normalize": normalize})).vecnormalize is None


@pytest.mark.parametrize("normalize", [True, "dict(norm_reward=False)", "{'norm_obs': True}", {"gamma": 0.9}])
def test_normalization_without_statistics_is_an_error(tmp_path: Path, normalize: Any) -> None:
    run = zoo_run(tmp_path, {"normalize": normalize})
    with pytest.raises(SteersmanError, match=r"were normalized, but the statistics are not there"):
        found(run)
    assert found(run, vecnormalize=tmp_path / "mine.pkl").vecnormalize == tmp_path / "mine.pkl"


def test_wrappers_are_in_the_order_in_which_the_zoo_applies_them(tmp_path: Path) -> None:
    config = {
        "env_wrapper": [
            {"rl_zoo3.wrappers.FrameSkip": {"skip": 2}},
            "sb3_contrib.common.wrappers.TimeFeatureWrapper",
        ],
        "vec_env_wrapper": {"stable_baselines3.common.vec_env.VecMonitor": None},
        "frame_stack": 4,
    }
    wrappers = found(zoo_run(tmp_path, config)).wrappers
    assert [wrapper.name.rpartition(".")[2] for wrapper in wrappers] == [
        "FrameSkip",
        "TimeFeatureWrapper",
        "VecMonitor",
        "frame_stack",
    ]
    assert [wrapper.arguments for wrapper in wrappers] == [{"skip": 2}, {}, {}, {"frames": 4}]


def test_what_is_asked_goes_before_the_run(tmp_path: Path) -> None:
    run = zoo_run(tmp_path, {"frame_stack": 4}, env_kwargs={"g": 1.0})
    source = found(run, env_id="CartPole-v1", wrapper=("history",), algo="a2c")
    assert (source.env_id, source.env_kwargs, source.env_required) == ("CartPole-v1", {}, True)
    assert [wrapper.name for wrapper in source.wrappers] == ["history"]
    assert found(run, env_kwargs={"g": 2.0}).env_kwargs == {"g": 2.0}


@pytest.mark.parametrize(
    ("name", "expected"), [("ppo_lstm", "recurrent_ppo"), ("qrdqn", "qrdqn"), ("her", None)]
)
def test_the_zoo_s_names_of_algorithms(tmp_path: Path, name: str, expected: str | None) -> None:
    assert found(zoo_run(tmp_path, algo=name)).algo == expected


@pytest.mark.parametrize(
    "line",
    [
        "!!python/object/apply:os.system ['touch {file}']",
        "!!python/object/new:pathlib.Path ['{file}', '{file}']",
        "!!python/object/apply:collections.OrderedDict [!!python/object/apply:os.system ['touch {file}']]",
        "!!python/object/apply:collections.OrderedDict text",
        "!!python/module:antigravity ''",
        "!!python/name:os.system ''",
        "!!binary x: !!nothing",
        "{unclosed",
        "[1, 2]",
        "\xff",
    ],
)
def test_nothing_is_run_and_nonsense_is_named(tmp_path: Path, line: str) -> None:
    planted = tmp_path / "planted"
    run = zoo_run(tmp_path)
    (run / "Pendulum-v1" / "args.yml").write_bytes(line.replace("{file}", str(planted)).encode("latin-1"))
    with pytest.raises(SteersmanError, match=r"args\.yml: it (cannot be read|holds no mapping)") as caught:
        found(run)
    assert not planted.exists()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", ["(1000000, 1000000)", "()", "(0, 5)"])
def test_evaluations_that_make_no_sense_say_nothing(tmp_path: Path, shape: str) -> None:
    run = zoo_run(tmp_path)
    told = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    with zipfile.ZipFile(run / "evaluations.npz", "w") as archive:
        archive.writestr("results.npy", b"\x93NUMPY\x01\x00v\x00" + told + bytes(8 if shape == "()" else 0))
    assert found(run).mean_return is None


@pytest.mark.parametrize(
    ("config", "arguments", "expected"),
    [
        ({"normalize": "__import__('os').system('true')"}, {}, "is code that is not run"),
        ({"normalize": "dict([1], a=2)"}, {}, "is code that is not run"),
        ({"env_kwargs": "open('x')"}, {}, "is code that is not run"),
        ({"env_wrapper": [{"a": 1, "b": 2}]}, {}, "names no wrapper"),
        ({"env_wrapper": [7]}, {}, "names no wrapper"),
        ({"env_wrapper": [{"x": {"y": date(2001, 1, 1)}}]}, {}, "names no wrapper"),
        ({"frame_stack": date(2001, 1, 1)}, {}, "names no wrapper"),
        ({"normalize": "-" * 9_000 + "1"}, {}, "is code that is not run"),
        ({"normalize": "-" * 90_000 + "1"}, {}, "is code that is not run"),
        ({"normalize": "(" * 300}, {}, "is code that is not run"),
        ({"normalize": "{[]: 1}"}, {}, "is code that is not run"),
        ({}, {"gym_packages": 5}, "gym_packages is 5; expected text"),
        ({}, {"gym_packages": [["x"]]}, "gym_packages is"),
        ({}, {"env": ["Pendulum-v1"]}, r"env is \['Pendulum-v1'\]; expected text"),
        ({}, {"env_kwargs": [1]}, r"env_kwargs are \[1\]; expected a mapping"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, config: Any, arguments: Any, expected: str) -> None:
    with pytest.raises(SteersmanError, match=expected) as caught:
        found(zoo_run(tmp_path, config, **arguments))
    assert len(str(caught.value)) < 500


def test_a_run_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(SteersmanError, match=r"has saved no model; expected best_model\.zip or Pendulum"):
        found(zoo_run(tmp_path, models=()))


def test_a_run_is_played_with_its_statistics_and_wrappers(tmp_path: Path) -> None:
    run = zoo_run(tmp_path, {"normalize": True, "env_wrapper": "utils.wrappers.FrameSkip"}, models=())
    envs = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]))
    envs.save(str(run / "Pendulum-v1" / "vecnormalize.pkl"))
    PPO("MlpPolicy", envs, device="cpu").save(run / "best_model.zip")
    prepared = Prepared(run)
    assert prepared.setting.stage is not None
    assert prepared.setting.preparation.normalizer is not None
    assert [wrapper.name for wrapper in prepared.contract.wrappers] == ["frame_skip"]


def test_an_older_version_of_an_environment_is_played_in_its_successor(tmp_path: Path) -> None:
    run = zoo_run(tmp_path, env="Pendulum-v0", models=())
    PPO("MlpPolicy", "Pendulum-v1", device="cpu").save(run / "best_model.zip")
    prepared = Prepared(run)
    assert prepared.setting.stage is not None
    assert prepared.setting.stage.id == "Pendulum-v1"
    assert prepared.setting.notes == (
        "Pendulum-v1 was played in place of Pendulum-v0, which is not available",
    )


def test_an_unknown_environment_is_mentioned_unless_it_was_asked_for(tmp_path: Path) -> None:
    run = zoo_run(tmp_path, env="HopperBulletEnv-v0", models=(), gym_packages=["pybullet_envs"])
    PPO("MlpPolicy", "Pendulum-v1", device="cpu").save(run / "best_model.zip")
    prepared = Prepared(run)
    assert prepared.setting.stage is None
    assert prepared.setting.notes == (
        "no episodes were played in HopperBulletEnv-v0 (gymnasium does not know it)",
    )
    assert prepared.source.notes == (
        "the run imported pybullet_envs; to play in it, name it with --env-import",
    )
    with pytest.raises(SteersmanError, match="no environment is registered"):
        Prepared(run, env_id="HopperBulletEnv-v0")


def test_a_successor_of_other_spaces_is_not_played(tmp_path: Path) -> None:
    run = zoo_run(tmp_path, env="Pendulum-v0", models=())
    A2C("MlpPolicy", World(), device="cpu").save(run / "best_model.zip")
    prepared = Prepared(run, algo="a2c")
    assert prepared.setting.stage is None
    assert "Pendulum-v1: its observation space is" in prepared.setting.notes[0]


def test_an_ordinary_zip_is_no_run(zipped: Zip, tmp_path: Path) -> None:
    for name in ("logs", "hydra"):
        (tmp_path / name).mkdir()
    (tmp_path / "hydra" / "config.yml").write_text("normalize: true")
    save(PPO.load(zipped()), tmp_path)
    assert found(tmp_path / "model.zip") == Source(tmp_path / "model.zip")
