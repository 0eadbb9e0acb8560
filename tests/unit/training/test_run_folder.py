"""What a finished run leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from stable_baselines3 import A2C, PPO

from steersman.training import load_run, train_policy

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import SettingsFactory


def test_a_run_folder_holds_every_file_it_lists(tiny: SettingsFactory) -> None:
    result = train_policy(tiny())
    listed = {*result.run.files.values(), "run.json"}
    assert listed == {path.name for path in result.folder.iterdir()}
    assert listed == {
        "run.json",
        "model.zip",
        "best_model.zip",
        "evaluations.npz",
        "monitor.csv",
        "tensorboard",
    }
    assert list((result.folder / "tensorboard").iterdir())


def test_the_record_says_how_the_run_went(tiny: SettingsFactory) -> None:
    result = train_policy(tiny(seed=7, env_kwargs={"kind": "box"}, feature_names=["position", "time"]))
    run = load_run(result.folder)
    assert run == result.run
    assert (run.status, run.algo, run.seed, run.n_envs) == ("complete", "ppo", 7, 2)
    assert (run.env_id, run.env_kwargs) == ("steersman-tests/Walk-v0", {"kind": "box"})
    assert (run.timesteps_asked, run.timesteps_done) == (256, 256)
    assert run.feature_names == ("position", "time")
    assert run.best is not None
    assert run.best.episodes == 4
    assert run.ended_at is not None
    assert run.ended_at >= run.started_at
    assert run.versions.torch.startswith("2.")
    assert run.hyperparameters["n_steps"] == 64
    assert run.hyperparameters["gae_lambda"] == 0.95


def test_runs_are_numbered_and_named_runs_are_not(tiny: SettingsFactory, tmp_path: Path) -> None:
    folders = [train_policy(tiny(timesteps=128, **more)).folder for more in ({}, {}, {"name": "mine"})]
    assert [str(folder.relative_to(tmp_path)) for folder in folders] == [
        "runs/steersman-tests-Walk-v0/ppo-0-1",
        "runs/steersman-tests-Walk-v0/ppo-0-2",
        "runs/steersman-tests-Walk-v0/mine",
    ]


def test_the_saved_policy_plays(tiny: SettingsFactory) -> None:
    result = train_policy(tiny("CartPole-v1"))
    assert result.run.feature_names == (
        "cart_position",
        "cart_velocity",
        "pole_angle",
        "pole_angular_velocity",
    )
    action, _ = PPO.load(result.run.policy_file(result.folder), device="cpu").predict(np.zeros(4, np.float32))
    assert action in (0, 1)


def test_a2c_trains_a_continuous_policy_with_a_chosen_network(tiny: SettingsFactory) -> None:
    network = {"policy_kwargs": {"net_arch": [8], "activation_fn": "relu"}, "learning_rate": "lin_0.01"}
    settings = tiny("Pendulum-v1", algo="a2c", timesteps=64, eval_episodes=1, hyperparameters=network)
    result = train_policy(settings)
    model = A2C.load(result.folder / "model.zip", device="cpu")
    assert [tuple(layer.shape) for layer in model.policy.mlp_extractor.policy_net.parameters()] == [
        (8, 3),
        (8,),
    ]
    assert model.lr_schedule(0.5) == pytest.approx(0.005)
    assert result.run.hyperparameters["policy_kwargs"] == {"net_arch": [8], "activation_fn": "relu"}
    assert result.run.action_names == ("torque",)


@pytest.mark.parametrize("kind", ["dict", "discrete", "image"])
def test_other_observation_spaces_train_too(tiny: SettingsFactory, kind: str) -> None:
    result = train_policy(tiny(env_kwargs={"kind": kind}, timesteps=128))
    assert result.run.status == "complete"


def test_evaluations_and_training_episodes_are_kept(tiny: SettingsFactory) -> None:
    folder = train_policy(tiny()).folder
    evaluations = np.load(folder / "evaluations.npz")
    assert (
        evaluations["results"].shape == evaluations["ep_lengths"].shape == (len(evaluations["timesteps"]), 4)
    )
    assert evaluations["timesteps"].tolist() == [128, 256, 256]
    lines = (folder / "monitor.csv").read_text().splitlines()
    assert lines[0].startswith("#")
    assert len(lines) == 2 + 256 // 10 - 1  # two environments, 128 steps each, episodes of ten
