"""The certificate: recorded inputs and expected answers that any host can re-run.

`certificate.npz` holds `input/<name>` for every graph input and `expected/<name>` for outputs, each with the
same first axis (at most 512 rows), and `tie` (bool per row: the two best choices are too close to compare).
The expected answers come from SB3's own `predict` and distributions, never from the graph itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.arrays import pack, unpack
from steersman.bundle.errors import BundleCorruptError
from steersman.bundle.manifest import Tolerance
from steersman.bundle.session import PolicySession, reason

Array = NDArray[Any]
MAX_ROWS = 512
MAX_BYTES = 8 * 1024 * 1024
PART = 64
"""Rows run beside as many extreme ones: all images in one batch would take hundreds of megabytes."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Inputs by graph input name, expected outputs by name, and which rows are ties."""

    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]
    tie: NDArray[np.bool_]

    def pack(self) -> bytes:
        """The bytes of `certificate.npz`."""
        arrays: dict[str, Array] = {"tie": self.tie}
        arrays |= {f"input/{name}": array for name, array in self.inputs.items()}
        arrays |= {f"expected/{name}": array for name, array in self.expected.items()}
        return pack(arrays)

    @classmethod
    def unpack(cls, data: bytes, where: str) -> Certificate:
        """Reads `certificate.npz`.

        Raises:
            BundleCorruptError: Arrays or rows are missing, or are not those of a certificate.
        """
        arrays = unpack(data, where)
        inputs, expected = _within("input/", arrays), _within("expected/", arrays)
        if (
            not inputs
            or "action" not in expected
            or len(inputs) + len(expected) != len(arrays.keys() - {"tie"})
        ):
            raise BundleCorruptError("the certificate's arrays do not fit together", where=where)
        tie = arrays.get("tie")
        if tie is None or tie.dtype != np.bool_ or tie.ndim != 1:
            raise BundleCorruptError("the certificate does not mark ties", where=where)
        rows = {array.shape[:1] for array in arrays.values()}
        if len(rows) != 1 or not 1 <= len(tie) <= MAX_ROWS:
            raise BundleCorruptError(
                "the certificate's rows do not fit together", where=where, expected=f"1 to {MAX_ROWS} of each"
            )
        return cls(inputs, expected, tie)


def _within(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class CertificateResult:
    """What a run of the certificate showed.

    Attributes:
        rows: Rows compared.
        failures: One line per failed check; empty when the variant passed.
        max_error: Largest difference of a number from the expected one.
        flips: Choices that differ outside ties.
    """

    rows: int
    failures: tuple[str, ...]
    max_error: float
    flips: int

    @property
    def passed(self) -> bool:
        """True when nothing failed."""
        return not self.failures


def run_certificate(
    session: PolicySession, certificate: Certificate, tolerance: Tolerance
) -> CertificateResult:
    """Runs every row in one batch, alone, and beside extreme mates.

    In one batch the answers must be the expected ones within the tolerance. Alone and beside NaN, infinite
    and huge mates they must be the same bits as in the batch: rows never influence each other.

    Raises:
        BundleCorruptError: The graph cannot be run with these inputs, or its outputs are of other shapes.
    """
    names = tuple(certificate.expected)
    batched = dict(zip(names, _run(session, names, certificate.inputs), strict=True))
    _check_comparable(batched, certificate.expected)
    failures: list[str] = []
    max_error, flips = 0.0, 0
    for name in names:
        if _is_choice(batched[name]):
            flips += _count_flips(batched[name], certificate.expected[name], certificate.tie)
        else:
            error, within = _compare(batched[name], certificate.expected[name], tolerance, certificate.tie)
            max_error = max(max_error, error)
            if not within:
                failures.append(f"{name} differs by up to {error:.3g} from the recorded answers")
    if flips > tolerance.flip_rate * len(certificate.tie):
        failures.append(f"{flips} of {len(certificate.tie)} decisions differ from the recorded ones")
    failures += _influences(session, certificate, batched)
    return CertificateResult(len(certificate.tie), tuple(failures), max_error, flips)


def _run(session: PolicySession, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
    try:
        return session.run(names, inputs)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
        raise BundleCorruptError(
            f"the graph cannot be run on the certificate: {reason(error)}", hint="Export the policy again."
        ) from error


def _check_comparable(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    for name, array in expected.items():
        same_kind = _is_choice(array) == _is_choice(found[name]) and array.dtype.kind in "iubf"
        if array.shape != found[name].shape or not same_kind:
            raise BundleCorruptError(
                f"the certificate has {name} as {array.dtype} {list(array.shape)}",
                expected=f"{found[name].dtype} {list(found[name].shape)}, which the graph gives",
                hint="Export the policy again.",
            )


def _is_choice(array: Array) -> bool:
    return array.dtype.kind in "iub"


def _count_flips(found: Array, expected: Array, tie: NDArray[np.bool_]) -> int:
    differs = (found != expected).reshape(len(tie), -1).any(axis=1)
    return int((differs & ~tie).sum())


def _compare(
    found: Array, expected: Array, tolerance: Tolerance, tie: NDArray[np.bool_]
) -> tuple[float, bool]:
    """Largest difference, and whether all are tolerable; equal infinities and NaN agree."""
    keep = ~tie if found.ndim == 1 else np.ones(len(tie), np.bool_)
    a, b = found[keep].astype(np.float64), expected[keep].astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(a - b))
    allowed = tolerance.atol + tolerance.rtol * np.where(np.isfinite(b), np.abs(b), 0.0)
    return float(error.max(initial=0.0)), bool((error <= allowed).all())


def _influences(session: PolicySession, certificate: Certificate, batched: Mapping[str, Array]) -> list[str]:
    failures = []
    for situation, answers in (
        ("alone", _run_alone(session, certificate.inputs, tuple(batched))),
        ("beside extreme rows", _run_beside_extremes(session, certificate.inputs, tuple(batched))),
    ):
        for name, found in answers.items():
            if found.tobytes() != batched[name].tobytes():
                failures.append(f"{name} has other bits {situation} than in a batch")
    return failures


def _run_alone(
    session: PolicySession, inputs: Mapping[str, Array], names: tuple[str, ...]
) -> dict[str, Array]:
    rows = len(next(iter(inputs.values())))
    alone = [_run(session, names, {k: v[i : i + 1] for k, v in inputs.items()}) for i in range(rows)]
    return {name: np.concatenate([row[i] for row in alone]) for i, name in enumerate(names)}


def _run_beside_extremes(
    session: PolicySession, inputs: Mapping[str, Array], names: tuple[str, ...]
) -> dict[str, Array]:
    """Runs the rows at the even places of batches whose odd places hold extreme observations and states."""
    rows = len(next(iter(inputs.values())))
    parts = []
    for first in range(0, rows, PART):
        mixed = {name: np.repeat(array[first : first + PART], 2, axis=0) for name, array in inputs.items()}
        for name, array in mixed.items():
            if name == "obs" or name.startswith(("obs/", "state/")):
                array[1::2] = _extremes(array[1::2])
        parts.append(_run(session, names, mixed))
    return {name: np.concatenate([part[i][::2] for part in parts]) for i, name in enumerate(names)}


def _extremes(array: Array) -> Array:
    if array.dtype.kind != "f":
        return np.full_like(array, np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1)
    cycle = np.array([np.nan, np.inf, -np.inf, np.finfo(array.dtype).max], array.dtype)
    fill = cycle[np.arange(len(array)) % len(cycle)]
    return np.broadcast_to(fill.reshape(-1, *[1] * (array.ndim - 1)), array.shape).copy()
