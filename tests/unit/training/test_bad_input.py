"""Wrong use: one line that says what, where and what to do, exit status 2, and nothing written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steersman.bundle.errors import SteersmanError
from steersman.training import train_policy
from steersman.training.errors import TrainingUsageError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Command, SettingsFactory

WALK = "--env=steersman-tests/Walk-v0"

WRONG = {
    "unknown environment": (["--env=CartPoel-v1"], "--env CartPoel-v1", "Did you mean CartPole-v1"),
    "wrong case": (["--env=cartpole-v1"], "cartpole-v1", "Did you mean CartPole-v1"),
    "environment like no other": (["--env=zzzz"], "--env zzzz", "--env-import"),
    "environment argument": ([WALK, "--env-kwargs=brakes_at=3"], "brakes_at", "--env-kwargs"),
    "environment that cannot start": ([WALK, "--env-kwargs=how=reset"], "no simulator here", "packages"),
    "module": ([WALK, "--env-import=no_such_module"], "--env-import no_such_module", "PYTHONPATH"),
    "module in the id": (["--env=no_such_module:X-v0"], "--env-import no_such_module", "PYTHONPATH"),
    "action space": ([WALK, "--env-kwargs=how=action"], "its action space is Dict", "expected Box"),
    "observation space": (
        [WALK, "--env-kwargs=kind=tuple"],
        "its observation space is Tuple",
        "expected Box",
    ),
    "space that starts at 1": ([WALK, "--env-kwargs=kind=shifted"], "does not start at 0", "wrapper"),
    "unknown hyperparameter": (
        [WALK, "--hyperparameter=gama=0.9"],
        "hyperparameter gama",
        "Did you mean gamma",
    ),
    "hyperparameter of another algorithm": (
        [WALK, "--algo=a2c", "--hyperparameter=target_kl=0.1"],
        "a2c has no such hyperparameter",
        "",
    ),
    "hyperparameter that is an option": ([WALK, "--hyperparameter=seed=1"], "hyperparameter seed", "--seed"),
    "hyperparameter out of range": ([WALK, "--hyperparameter=gamma=1.5"], "hyperparameter gamma", "got 1.5"),
    "hyperparameter of the wrong type": (
        [WALK, "--hyperparameter=vf_coef=big"],
        "hyperparameter vf_coef",
        "'big'",
    ),
    "schedule": ([WALK, "--hyperparameter=learning_rate=lin_x"], "hyperparameter learning_rate", "lin_0.001"),
    "network": (
        [WALK, "--hyperparameter=policy_kwargs={'net_arc':[4]}"],
        "hyperparameter policy_kwargs.net_arc:",
        "[4]",
    ),
    "no value": ([WALK, "--hyperparameter=gamma"], "--hyperparameter", "expected key=value"),
    "given twice": ([WALK, "--hyperparameter=n_steps=3"], "n_steps is given twice", "Keep one"),
    "not a number": ([WALK, "--hyperparameter=gamma=NaN"], "--hyperparameter", "finite number"),
    "seed": ([WALK, "--seed=-1"], "--seed", "got -1"),
    "timesteps": ([WALK, "--timesteps=0"], "--timesteps", "got 0"),
    "target": ([WALK, "--target-return=nan"], "--target-return", "finite"),
    "episodes": ([WALK, "--eval-episodes=0"], "--eval-episodes", "got 0"),
    "name": ([WALK, "--name=../elsewhere"], "--name", "got '../elsewhere'"),
    "feature names": ([WALK, "--feature-names=a,b,c"], "--feature-names", "expected 2"),
    "same name twice": ([WALK, "--feature-names=a,a"], "--feature-names", "distinct"),
    "empty name": ([WALK, "--feature-names=a,"], "--feature-names", "at least 1 character"),
    "action names": ([WALK, "--action-names=left"], "--action-names", "expected 2"),
    "names for a dictionary": (
        [WALK, "--env-kwargs=kind=dict", "--feature-names=a,b"],
        "--feature-names",
        "Leave it out",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_use_is_explained_and_leaves_no_trace(command: Command, tmp_path: Path, wrong: str) -> None:
    options, where, remedy = WRONG[wrong]
    error = command(*options).exception
    assert isinstance(error, SteersmanError), error
    assert error.exit_code == 2
    line = str(error)
    assert where in line
    assert remedy in line
    assert "\n" not in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--no-such-option", "--algo=dqn", "--timesteps=many"])
def test_options_that_do_not_parse_are_exit_2(command: Command, tmp_path: Path, option: str) -> None:
    assert command(WALK, option).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_what_sb3_refuses_is_wrong_use(tiny: SettingsFactory, tmp_path: Path) -> None:
    with pytest.raises(TrainingUsageError, match="must be greater than 1"):
        train_policy(tiny(n_envs=1, hyperparameters={"n_steps": 1}))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_never_written_over(command: Command, tmp_path: Path) -> None:
    taken = tmp_path / "runs" / "steersman-tests-Walk-v0" / "mine"
    taken.mkdir(parents=True)
    error = command(WALK, "--name=mine").exception
    assert isinstance(error, SteersmanError)
    assert error.exit_code == 2
    assert f"{taken}: the run folder exists" in str(error)
    assert list(taken.iterdir()) == []


def test_a_file_in_the_place_of_the_out_folder_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    error = command(WALK).exception
    assert isinstance(error, SteersmanError)
    assert error.exit_code == 2
    assert f"--out {tmp_path / 'runs'}" in str(error)
    assert (tmp_path / "runs").read_text() == "not a folder"
