"""Which library versions a run was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from pydantic import BaseModel, ConfigDict


class Versions(BaseModel):
    """Versions of everything that can change what a run learns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    python: str
    torch: str
    stable_baselines3: str
    gymnasium: str
    numpy: str
    steersman: str


def installed_versions() -> Versions:
    """The versions in this interpreter; ``unknown`` for a checkout that is not installed."""
    names = [name for name in Versions.model_fields if name != "python"]
    return Versions(python=platform.python_version(), **{name: _version_of(name) for name in names})


def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
