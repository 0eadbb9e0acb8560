"""The command's output, and what it does not load."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from steersman.training import Run, load_run

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Command

WALK = "--env=steersman-tests/Walk-v0"


def test_the_summary_says_what_became_of_the_run_and_what_is_next(command: Command, tmp_path: Path) -> None:
    outcome = command(WALK, "--quiet")
    assert outcome.exit_code == 0
    folder = tmp_path / "runs" / "steersman-tests-Walk-v0" / "ppo-0-1"
    assert outcome.stdout.startswith("Training done: best mean return ")
    assert f"steersman export {folder}" in outcome.stdout
    assert outcome.stderr == ""


def test_json_is_the_folder_and_its_record(command: Command) -> None:
    printed = json.loads(command(WALK, "--json", "--target-return=0").stdout)
    folder = printed.pop("folder")
    assert Run.model_validate_json(json.dumps(printed)) == load_run(folder)


def test_a_users_own_module_registers_its_environment(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
import gymnasium
gymnasium.register('Mine-v0', entry_point='gymnasium.envs.classic_control:CartPoleEnv')
"""
    (tmp_path / "my_environments.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    outcome = command(
        "--env=Mine-v0", "--env-import=my_environments", "--json", "--env-kwargs=max_episode_steps=20"
    )
    record = json.loads(outcome.stdout)
    assert record["env_import"] == "my_environments"
    assert record["env_kwargs"] == {"max_episode_steps": 20}


def test_reading_options_and_runs_loads_no_heavy_library() -> None:
    code = (
        "import sys, steersman.training.cli; cli = set(sys.modules); import steersman.training.run;"
        "print(sorted({'torch', 'numpy', 'gymnasium', 'rich.progress', 'pydantic'} & cli),"
        " sorted({'torch', 'gymnasium', 'stable_baselines3'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout == "[] []\n"
