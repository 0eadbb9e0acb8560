"""The benchmarks are a package of the repository, not of the installation."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.engine_kit import load_engine
from benchmarks.policies import DEMO, publish

from steersman.serving.deciding.engine import Engine


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine with the policy of the demo's size."""
    root = tmp_path_factory.mktemp("engine")
    publish(root / "bundles", DEMO)
    return load_engine(root / "bundles", root)
