"""Versions of the libraries that made a bundle."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_NAMES = (
    "steersman",
    "torch",
    "stable-baselines3",
    "gymnasium",
    "numpy",
    "onnx",
    "onnxscript",
    "onnxruntime",
)


def exporting_versions() -> dict[str, str]:
    """Versions of what is installed here, by name, in the form in which provenance lists them."""
    found = {"python": platform.python_version()}
    for name in _NAMES:
        if (installed := installed_version(name)) is not None:
            found[name.replace("-", "_")] = installed
    return found


def installed_version(name: str) -> str | None:
    """Version of an installed distribution; None where it runs from a checkout that is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
