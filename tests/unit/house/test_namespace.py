"""`steersman` is one namespace over five source roots (docs/adr/0001)."""

import tomllib
from pathlib import Path

import pytest

SOURCE_ROOTS = ("training", "export", "serving", "monitoring", "protos")


@pytest.mark.parametrize("folder", SOURCE_ROOTS)
def test_no_root_hides_the_others(root: Path, folder: str) -> None:
    assert not (root / folder / "steersman" / "__init__.py").exists()
    assert not (root / folder / "__init__.py").exists()


def test_every_package_is_typed(root: Path) -> None:
    packages = {path.parent for path in root.glob("*/steersman/*/__init__.py")}
    assert packages
    assert {package.name for package in packages if not (package / "py.typed").exists()} == set()


def test_every_tool_is_told_the_same_roots(root: Path) -> None:
    tool = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    assert set(tool["hatch"]["build"]["dev-mode-dirs"]) == set(SOURCE_ROOTS)
    packages = tool["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) == {f"{folder}/steersman" for folder in SOURCE_ROOTS}
    assert set(tool["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]) == set(SOURCE_ROOTS)
    for told in (tool["ruff"]["src"], tool["mypy"]["files"], tool["pyright"]["include"]):
        assert set(SOURCE_ROOTS) <= set(told)
    assert tool["coverage"]["run"]["source"] == list(SOURCE_ROOTS)
