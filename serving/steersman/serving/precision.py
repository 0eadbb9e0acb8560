"""Which variant to run on this host: measured once, then remembered.

int8 is slower than fp32 for SB3's default nets and up to three times faster for wide ones, depending on the
processor. So `auto` times both at batch 1, alternating, and keeps the answer in a file, by bundle, processor
and version of ONNX Runtime.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from steersman.bundle.session import PolicySession, usual_outputs

Array = NDArray[Any]
ROUNDS = 40
CACHE_FILE = "precision.json"
LOCK_FILE = ".precision.lock"
PLAIN = "fp32"
CLEARLY_FASTER = 1.10
"""A variant must be faster by this factor: the measurement is no finer, and fp32 is the policy as trained."""


def fastest(sessions: Mapping[str, PolicySession], row: Mapping[str, Array], digest: str, cache: Path) -> str:
    """Name of the variant to run: fp32, unless another is clearly faster.

    Workers that start together wait for one another here, so that all of them run the same.

    Args:
        sessions: The variants that may be used, prepared for their usual calls, by name; fp32 is among them.
        row: One row per graph input, to time with.
        digest: Digest of the bundle.
        cache: Folder where the answer is remembered.
    """
    if len(sessions) == 1:
        return next(iter(sessions))
    key = f"{digest}/{_processor()}/{ort.__version__}"
    with _alone(cache):
        known = _read(cache)
        if known.get(key) not in sessions:
            known[key] = _measure(sessions, row)
            _write(cache, known)
        return known[key]


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One worker at a time; where the folder cannot be locked, each measures for itself."""
    with ExitStack() as stack:
        with suppress(OSError):
            lock = stack.enter_context((cache / LOCK_FILE).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _measure(sessions: Mapping[str, PolicySession], row: Mapping[str, Array]) -> str:
    usual = usual_outputs(sessions[PLAIN].contract.outputs, "greedy")
    times: dict[str, list[int]] = {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            started = perf_counter_ns()
            session.run(usual, row)
            times[name].append(perf_counter_ns() - started)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    best = min(medians, key=medians.__getitem__)
    return best if medians[best] * CLEARLY_FASTER < medians[PLAIN] else PLAIN


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(cache: Path) -> dict[str, str]:
    try:
        known = json.loads((cache / CACHE_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(cache: Path, known: Mapping[str, str]) -> None:
    """Remembers; that it cannot be remembered costs a measurement next time, no more."""
    with suppress(OSError):
        temporary = cache / f".{CACHE_FILE}.{os.getpid()}"
        temporary.write_text(json.dumps(known, indent=1))
        temporary.replace(cache / CACHE_FILE)
