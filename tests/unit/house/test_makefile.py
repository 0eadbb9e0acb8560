import re
import subprocess
from pathlib import Path

import pytest


def make(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["make", "-C", str(root), *arguments], capture_output=True, text=True, check=True
    ).stdout


def targets(root: Path) -> set[str]:
    return set(re.findall(r"^\.PHONY: (\S+)", (root / "Makefile").read_text(), re.MULTILINE))


def test_help_is_the_default_and_lists_every_target_with_its_purpose(root: Path) -> None:
    listed = dict(re.findall(r"^  ([a-z-]+) +(\S.*)$", make(root), re.MULTILINE))
    assert set(listed) == targets(root)


def test_help_names_the_variables(root: Path) -> None:
    text = make(root, "help")
    for variable in ("ARGS", "PYTHON", "TORCH", "TORCH_INDEX_URL"):
        assert re.search(rf"^  {variable} +\S", text, re.MULTILINE)


@pytest.mark.parametrize("target", ["demo", "test", "check", "wheel-test"])
def test_what_needs_the_environment_makes_it(root: Path, tmp_path: Path, target: str) -> None:
    plan = make(root, "--dry-run", target, f"VENV={tmp_path / 'venv'}")
    assert plan.index(f"tools/setup_venv.sh {tmp_path / 'venv'}") < plan.index(f"{tmp_path / 'venv'}/bin/")


def test_ci_runs_only_targets_that_exist(root: Path) -> None:
    used = re.findall(r"\bmake ([a-z-]+)", (root / ".ci" / "run").read_text())
    assert {
        "test",
        "lint",
        "mypy",
        "pyright",
        "imports",
        "proto-check",
        "sizes",
        "wheel-test",
        "demo-check",
    } <= set(used)
    assert set(used) <= targets(root)


def test_an_old_python_is_told_what_to_do(root: Path) -> None:
    code = "import sys; sys.version_info = (3, 9, 18); exec(open('tools/check_python.py').read())"
    done = subprocess.run(["python3", "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "is 3.9.18" in done.stderr
    assert "make PYTHON=" in done.stderr
