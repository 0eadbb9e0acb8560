"""A target stops the run, or the run says that it was missed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from steersman.training import load_run, train_policy
from steersman.training.errors import TargetMissedError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Command, SettingsFactory


def test_a_reached_target_ends_the_run_early(tiny: SettingsFactory) -> None:
    result = train_policy(tiny("CartPole-v1", timesteps=4096, target_return=5.0))
    assert result.run.status == "complete"
    assert result.run.timesteps_done == 128
    assert result.run.best is not None
    assert result.run.best.mean_return >= 5.0


def test_a_target_is_confirmed_on_fresh_episodes(tiny: SettingsFactory) -> None:
    result = train_policy(tiny("CartPole-v1", timesteps=4096, target_return=5.0))
    evaluations = np.load(result.folder / "evaluations.npz")
    assert evaluations["timesteps"].tolist() == [128, 128]
    assert result.run.best is not None
    assert result.run.best.mean_return == evaluations["results"][1].mean()
    assert evaluations["results"][0].tolist() != evaluations["results"][1].tolist()


def test_the_policy_that_reached_the_target_is_best_and_last(tiny: SettingsFactory) -> None:
    folder = train_policy(tiny(timesteps=4096, target_return=0.0)).folder
    assert (folder / "best_model.zip").stat().st_size == (folder / "model.zip").stat().st_size


def test_a_missed_target_is_a_result_in_python(tiny: SettingsFactory) -> None:
    result = train_policy(tiny(target_return=11.0))
    assert result.run.status == "target_missed"
    assert result.run.policy_file(result.folder).name == "best_model.zip"


@pytest.mark.parametrize("output", [[], ["--json"]])
def test_a_missed_target_is_exit_1_on_the_command_line(
    command: Command, tmp_path: Path, output: list[str]
) -> None:
    outcome = command("--env=steersman-tests/Walk-v0", "--target-return=11", *output)
    assert isinstance(outcome.exception, TargetMissedError)
    assert outcome.exception.exit_code == 1
    line = str(outcome.exception)
    assert "expected at least 11" in line
    assert "\n" not in line
    folder = tmp_path / "runs" / "steersman-tests-Walk-v0" / "ppo-0-1"
    assert load_run(folder).status == "target_missed"
    if output:
        assert json.loads(outcome.stdout)["folder"] == str(folder)
    else:
        assert outcome.stdout.startswith("Target missed: best mean return ")
