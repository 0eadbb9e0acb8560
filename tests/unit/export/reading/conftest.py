"""Saved models that many tests read; each is built once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

from unit.export.reading.files import Kind

Build = Callable[[Kind], tuple[BaseAlgorithm, Path]]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The model of a kind, and the zip that SB3 saved of it."""
    made: dict[str, tuple[BaseAlgorithm, Path]] = {}

    def get(kind: Kind) -> tuple[BaseAlgorithm, Path]:
        key = repr(kind)
        if key not in made:
            model = kind.build()
            path = tmp_path_factory.mktemp("saved") / "model.zip"
            model.save(path)
            made[key] = (model, path)
        return made[key]

    return get


@pytest.fixture(scope="session")
def plain_zip(build: Build) -> Path:
    """PPO on a vector, as SB3 saves it today."""
    return build(Kind())[1]
