"""What the report shows beside the manifest and the references: figures too many for a manifest."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ReportData:
    """See the module.

    Attributes:
        differences: By graph output, [N] the largest absolute difference between the graph's answer and
            SB3's in each state that was compared. Outputs that are choices are not in it: they agree or not.
        allowed: By the same names, the largest difference allowed, absolute or relative, whichever is larger.
        most_flips: Gate of quantization: upper bound of the rate of changed decisions.
        most_loss: Gate of quantization: share of fp32's return that may be lost.
        host: Where latency was measured.
        notes: What a person should know about this export.
    """

    differences: Mapping[str, NDArray[Any]]
    allowed: Mapping[str, float] = field(default_factory=dict)
    most_flips: float = 0.005
    most_loss: float = 0.01
    host: str = ""
    notes: tuple[str, ...] = ()


def describe_host() -> str:
    """This machine's processor and system, as far as they can be told."""
    cores = os.cpu_count() or 1
    processor = _processor() or platform.machine()
    return f"{processor}, {cores} core{'' if cores == 1 else 's'}, {platform.system()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
