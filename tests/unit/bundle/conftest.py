"""A small real bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from steersman.bundle.bundle import Bundle
from support.toy_bundle import publish_toy

settings.register_profile("patient", deadline=None)  # examples are quick, but the machine may be busy
settings.load_profile("patient")


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A published bundle; tests that change one make their own."""
    return publish_toy(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def fresh(toy: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the test's own."""
    return Bundle.open(shutil.copytree(toy.path, tmp_path / "toy" / "1"))
