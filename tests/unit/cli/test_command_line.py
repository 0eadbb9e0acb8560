"""The `steersman` command as a whole: it answers at once, and says in one line what was used wrongly."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


def steersman(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command."""
    command = [sys.executable, "-P", "-m", "steersman.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_is_shown_without_arguments_and_lists_every_command() -> None:
    shown = steersman()
    assert shown.returncode == 0
    for command in ("demo", "train", "export", "verify", "serve", "act", "policies", "health"):
        assert f" {command} " in shown.stdout


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import json, sys\nfrom steersman.cli import app\n"
        "try: app(['--help'], standalone_mode=False)\nfinally: print(json.dumps(sorted(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(printed.stdout.splitlines()[-1])}
    heavy = {"torch", "numpy", "onnx", "onnxruntime", "grpc", "stable_baselines3", "gymnasium", "matplotlib"}
    assert loaded & heavy == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "No such command 'fly'"),
        (["serve", "--fast"], "No such option: --fast"),
        (["serve", "--port", "many"], "--port"),
        (["act"], "Missing argument"),
        (["train"], "--env"),
        (["train", "--env", "CartPoel-v1"], "CartPole-v1"),
        (["export", "/nowhere", "--repository", "/nowhere"], "no such file"),
        (["verify", "/nowhere"], "/nowhere"),
        (["act", "toy", "--observation", "[0"], "not JSON"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(arguments: list[str], said: str) -> None:
    finished = steersman(*arguments)
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith("steersman: ")
    assert said in line
    assert finished.returncode == 2


def test_no_server_is_one_line_and_status_1() -> None:
    finished = steersman("act", "toy", "--observation", "[0]", "--target", "127.0.0.1:9", "--timeout", "1")
    (line,) = finished.stderr.strip().splitlines()
    assert "127.0.0.1:9" in line
    assert "steersman serve" in line
    assert finished.returncode == 1


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert steersman("--version").stdout == f"steersman {project['version']}\n"
