"""What the figures were measured on."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("grpcio", "protobuf", "onnxruntime", "numpy")


def describe_machine() -> dict[str, str]:
    """Processor, cores, system, versions and load, as they are now."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
        "libraries": f"{packages}, {_h2load()}",
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _h2load() -> str:
    with contextlib.suppress(OSError):
        done = subprocess.run(("h2load", "--version"), capture_output=True, text=True, check=False)
        return done.stdout.strip()
    return "no h2load"
