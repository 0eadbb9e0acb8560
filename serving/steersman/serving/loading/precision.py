"""How fast the variants of a policy are on this host, and so which one to run: measured once, remembered.

int8 is slower than fp32 for SB3's default nets and up to three times faster for wide ones, depending on the
processor. So `auto` times both at one row, alternating. What the chosen one takes for more rows decides
whether it runs inline or on a thread (`batching`). A file keeps the answers, by bundle, variants, processor
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
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from steersman.bundle.session import PolicySession, usual_outputs

Array = NDArray[Any]
ROUNDS = 40
BATCHES = (8, 32)
BATCH_ROUNDS = 5
MOST_S = 0.25
"""Seconds that one size is timed for, whatever the rounds; what would take longer is reckoned, not timed."""
CACHE_FILE = "precision.json"
LOCK_FILE = ".precision.lock"
PLAIN = "fp32"
CLEARLY_FASTER = 1.10
"""A variant must be faster by this factor: the measurement is no finer, and fp32 is the policy as trained."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was found.

    Attributes:
        variant: Name of the variant to run: fp32, unless another is clearly faster.
        seconds: What that variant takes for a greedy answer, by rows.
    """

    variant: str
    seconds: Mapping[int, float]


def measure(
    sessions: Mapping[str, PolicySession], row: Mapping[str, Array], digest: str, cache: Path
) -> Measurement:
    """Times the variants, or remembers.

    Workers that start together wait for one another here, so that all of them run the same.

    Args:
        sessions: The variants that may be used, prepared for their usual calls, by name.
        row: One row per graph input, to time with.
        digest: Digest of the bundle.
        cache: Folder where the answer is remembered.
    """
    key = f"{digest}/{'+'.join(sorted(sessions))}/{_processor()}/{ort.__version__}"
    with _alone(cache):
        known = _read(cache)
        found = _remembered(known.get(key), sessions)
        if found is None:
            found = _measure(sessions, row)
            seconds = {str(rows): taken for rows, taken in found.seconds.items()}
            _write(cache, {**known, key: {"variant": found.variant, "seconds": seconds}})
        return found


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One worker at a time; where the folder cannot be locked, each measures for itself."""
    with ExitStack() as stack:
        with suppress(OSError):
            lock = stack.enter_context((cache / LOCK_FILE).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _measure(sessions: Mapping[str, PolicySession], row: Mapping[str, Array]) -> Measurement:
    medians = _medians(sessions, row, ROUNDS)
    best = min(medians, key=medians.__getitem__)
    if PLAIN in medians and not medians[best] * CLEARLY_FASTER < medians[PLAIN]:
        best = PLAIN
    seconds = {1: medians[best]}
    for rows in BATCHES:
        most = seconds[1] * rows
        if most < MOST_S:
            batch = {name: np.repeat(array, rows, axis=0) for name, array in row.items()}
            most = _medians({best: sessions[best]}, batch, BATCH_ROUNDS)[best]
        seconds[rows] = most
    return Measurement(best, seconds)


def _medians(
    sessions: Mapping[str, PolicySession], feeds: Mapping[str, Array], rounds: int
) -> dict[str, float]:
    """Seconds of a greedy answer by variant, in turns."""
    times: dict[str, list[int]] = {name: [] for name in sessions}
    over = perf_counter_ns() + int(MOST_S * 1e9)
    for _ in range(rounds):
        if perf_counter_ns() > over and all(times.values()):
            break
        for name, session in sessions.items():
            usual = usual_outputs(session.contract.outputs, "greedy")
            started = perf_counter_ns()
            session.run(usual, feeds)
            times[name].append(perf_counter_ns() - started)
    return {name: statistics.median(taken) * 1e-9 for name, taken in times.items()}


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _remembered(entry: Any, sessions: Mapping[str, PolicySession]) -> Measurement | None:
    """What a file says, unless it is damaged or from another version."""
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        seconds = {int(rows): float(taken) for rows, taken in entry["seconds"].items()}
        if entry["variant"] in sessions and set(seconds) == {1, *BATCHES}:
            return Measurement(entry["variant"], seconds)
    return None


def _read(cache: Path) -> dict[str, Any]:
    try:
        known = json.loads((cache / CACHE_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(cache: Path, known: Mapping[str, Any]) -> None:
    """Remembers; that it cannot be remembered costs a measurement next time, no more."""
    with suppress(OSError):
        temporary = cache / f".{CACHE_FILE}.{os.getpid()}"
        temporary.write_text(json.dumps(known, indent=1))
        temporary.replace(cache / CACHE_FILE)
