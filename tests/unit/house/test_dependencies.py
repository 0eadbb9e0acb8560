import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

TRAINING_LIBRARIES = {
    "torch",
    "onnx",
    "onnxscript",
    "stable-baselines3",
    "sb3-contrib",
    "gymnasium",
    "matplotlib",
}


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, Version]:
    lines = (root / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


@pytest.fixture(scope="module")
def requirements(root: Path) -> dict[str, list[Requirement]]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    groups = {"core": project["dependencies"], **project["optional-dependencies"]}
    return {group: [Requirement(line) for line in lines] for group, lines in groups.items()}


def test_torch_is_pinned_without_a_build_label(pins: dict[str, Version]) -> None:
    assert pins["torch"] == Version("2.13.0")
    assert [name for name, version in pins.items() if version.local] == []


def test_every_dependency_has_a_pin_within_its_bounds(
    pins: dict[str, Version], requirements: dict[str, list[Requirement]]
) -> None:
    named = [requirement for group in requirements.values() for requirement in group]
    outside = [str(r) for r in named if not r.specifier.contains(pins[canonicalize_name(r.name)])]
    assert outside == []
    assert [str(r) for r in named if not r.specifier] == []


def test_the_server_needs_no_training_library(requirements: dict[str, list[Requirement]]) -> None:
    assert TRAINING_LIBRARIES.isdisjoint(requirement.name for requirement in requirements["core"])


def test_the_lower_bounds_run_the_generated_code(
    root: Path, requirements: dict[str, list[Requirement]]
) -> None:
    core = {requirement.name: requirement.specifier for requirement in requirements["core"]}
    for path in root.glob("protos/**/*_pb2*.py"):
        text = path.read_text()
        for version in re.findall(r"# Protobuf Python Version: (\S+)", text):
            assert not core["protobuf"].contains(lower(version)), path
        for version in re.findall(r"GRPC_GENERATED_VERSION = '(\S+)'", text):
            assert not core["grpcio"].contains(lower(version)), path


def lower(version: str) -> Version:
    """A version just below, which the generated code would refuse."""
    return Version(f"{version}.dev0")
