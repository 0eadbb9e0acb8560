"""Export: from an SB3 policy to a verified, quantized ONNX bundle, offline.

    from steersman.export import ExportSettings, export_policy

    exported = export_policy(ExportSettings(source="runs/CartPole-v1/ppo-0-1", repository="bundles"))
    print(exported.bundle.path, exported.bundle.manifest.variants["int8"].flips)

Read `pipeline.py` first: it is the order in which things happen. The names below load on first use, so that
listing the command's options imports neither numpy nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steersman.export.errors import ExportError
    from steersman.export.pipeline import Exported, export_policy
    from steersman.export.settings import ExportSettings

__all__ = ["ExportError", "ExportSettings", "Exported", "export_policy"]

_HOMES = {
    "ExportError": "errors",
    "ExportSettings": "settings",
    "Exported": "pipeline",
    "export_policy": "pipeline",
}


def __getattr__(name: str) -> object:
    """Imports a public name from its module the first time it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
