"""A run that does not end well says so in its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from steersman.training import load_run, train_policy
from steersman.training.errors import RunUnreadableError, TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Command, SettingsFactory
    from steersman.training import Progress


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "steersman-tests-Walk-v0" / "ppo-0-1"


def test_a_failing_environment_marks_the_run_failed(tiny: SettingsFactory, folder: Path) -> None:
    with pytest.raises(TrainingError, match="the motor came off") as caught:
        train_policy(tiny(env_kwargs={"breaks_at": 40}))
    assert caught.value.exit_code == 1
    assert str(folder) in str(caught.value)
    run = load_run(folder)
    assert (run.status, run.error) == ("failed", "RuntimeError: the motor came off")
    assert run.ended_at is not None
    assert "in _break" in (folder / run.files["traceback"]).read_text()  # type: ignore[index]


def test_a_failed_run_keeps_its_best_model_so_far(tiny: SettingsFactory, folder: Path) -> None:
    with pytest.raises(TrainingError):
        train_policy(tiny(env_kwargs={"breaks_at": 100}))
    assert load_run(folder).policy_file(folder).name == "best_model.zip"


def test_a_run_that_failed_early_has_nothing_to_export(tiny: SettingsFactory, folder: Path) -> None:
    with pytest.raises(TrainingError):
        train_policy(tiny(env_kwargs={"breaks_at": 5}))
    with pytest.raises(RunUnreadableError, match="the run is failed and has saved no model"):
        load_run(folder).policy_file(folder)


def test_an_interrupted_run_keeps_its_last_model(tiny: SettingsFactory, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_policy(tiny(env_kwargs={"breaks_at": 40, "how": "interrupt"}))
    run = load_run(folder)
    assert run.status == "interrupted"
    assert run.policy_file(folder).name == "model.zip"
    assert 0 < run.timesteps_done < 256


def test_a_listener_can_interrupt(tiny: SettingsFactory, folder: Path) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_policy(tiny(), stop)
    assert load_run(folder).status == "interrupted"


@pytest.mark.parametrize("how", ["interrupt", "terminate"])
def test_the_command_says_where_an_interrupted_run_is(command: Command, folder: Path, how: str) -> None:
    outcome = command("--env=steersman-tests/Walk-v0", "--env-kwargs=breaks_at=40", f"--env-kwargs=how={how}")
    assert outcome.exit_code == 130
    assert f"The run is kept in {folder}" in outcome.stderr
    assert load_run(folder).status == "interrupted"


def test_no_half_written_file_is_left(tiny: SettingsFactory, folder: Path) -> None:
    with pytest.raises(TrainingError):
        train_policy(tiny(env_kwargs={"breaks_at": 100}, normalize=True))
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
