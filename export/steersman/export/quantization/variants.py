"""Which variants the bundle gets: fp32 always, and the fastest 8-bit one that passes its gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from steersman.bundle.certificate import Certificate
from steersman.bundle.manifest import RejectedVariant, Tolerance
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import Contract
from steersman.export.errors import ExportError
from steersman.export.evidence.certify import measure_tolerance
from steersman.export.evidence.comparison import (
    Baseline,
    Evidence,
    compare,
    measure_baseline,
    measure_latency,
)
from steersman.export.policies.graph import check_graph
from steersman.export.quantization.quantize import quantize
from steersman.export.vocabulary import Scheme

Array = NDArray[Any]
MOST_FLIPS = 0.005
"""Gate: the upper bound of the rate of changed decisions."""
LEAST_STATES = 10_000
"""Gate: states that the bound must rest on."""
AS_FAST = 1.10
"""Latencies within this factor count as equal, for the measurement is no finer."""
TAILS = (0.0, 1e-4, 1e-3, 1e-2)
"""Shares of inputs that a static scheme may let saturate; the best on the calibration states is taken."""
FIT_ROWS, RANGE_ROWS = 4_096, 1_024
"""Calibration states that weights are rounded with, and that ranges are tried with; all judge the ranges."""
SCHEMES = (Scheme.STATIC_QDQ, Scheme.STATIC_QDQ_HIDDEN, Scheme.WEIGHT_ONLY)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant, and what has been found out about it so far.

    Attributes:
        scheme: How it was made.
        model: The ONNX file's bytes.
        session: As the server will run it.
        evidence: Against fp32; None for fp32 itself.
        tolerance: For the certificate; None before it was run, and where it failed.
        failure: Why it cannot be shipped.
        latency_us: Median microseconds by batch size.
    """

    scheme: Scheme
    model: bytes
    session: PolicySession
    evidence: Evidence | None = None
    tolerance: Tolerance | None = None
    failure: str | None = None
    latency_us: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was decided: fp32, the chosen 8-bit variant if any passed, and the others with the reason."""

    fp32: Candidate
    int8: Candidate | None
    rejected: tuple[RejectedVariant, ...]


@dataclass(frozen=True, slots=True)
class Workbench:
    """What all variants of one export have in common.

    Attributes:
        model: The fp32 graph.
        contract: Its contract.
        digest: The contract's digest.
    """

    model: onnx.ModelProto
    contract: Contract
    digest: str

    def candidate(self, model: onnx.ModelProto, scheme: Scheme) -> Candidate:
        """A variant, loaded."""
        data = model.SerializeToString(deterministic=True)
        return Candidate(scheme, data, PolicySession(data, self.contract, self.digest, scheme))


def choose_variants(
    bench: Workbench,
    fp32: Candidate,
    baseline: Baseline,
    certificate: Certificate,
    *,
    calibration: Array,
    progress: Callable[[float], None] = lambda _: None,
) -> Choice:
    """Makes all candidates, gathers their evidence and picks.

    Args:
        bench: What they have in common.
        fp32: The full-precision variant.
        baseline: Its answers on the states that judge the others.
        certificate: Rows that every variant must pass.
        calibration: Observations to quantize with; none of them is in the baseline.
        progress: Told the share that is done.
    """
    calibrated = measure_baseline(fp32.session, calibration)
    fp32 = replace(fp32, tolerance=measure_tolerance(fp32.session, certificate, exact=True))
    candidates, rejected = [], []
    for i, scheme in enumerate(SCHEMES):
        progress(i / len(SCHEMES))
        made = make_candidate(bench, scheme, calibrated)
        if made is None:
            rejected.append(RejectedVariant(scheme=scheme, reason="the policy has no such layers"))
        else:
            candidates.append(examine(made, baseline, certificate))
    fp32, *candidates = _with_latency([fp32, *candidates], baseline)
    chosen = fastest([c for c in candidates if c.failure is None])
    rejected += [_rejection(c, chosen) for c in candidates if c is not chosen]
    return Choice(fp32, chosen, tuple(rejected))


def make_candidate(bench: Workbench, scheme: Scheme, calibrated: Baseline) -> Candidate | None:
    """One candidate; a static scheme gets the range of inputs that does best on the calibration states."""

    def make(tail: float, *, careful: bool) -> Candidate | None:
        feeds = _spread(calibrated.feeds, FIT_ROWS if careful else RANGE_ROWS)
        model = quantize(bench.model, scheme, feeds, tail=tail, careful=careful)
        return None if model is None else bench.candidate(check_graph(model), scheme)

    if scheme is Scheme.WEIGHT_ONLY:
        return make(0.0, careful=True)
    tried = [(_harm(made, calibrated), tail) for tail in TAILS if (made := make(tail, careful=False))]
    return make(min(tried)[1], careful=True) if tried else None


def _spread(feeds: Mapping[str, Array], most: int) -> dict[str, Array]:
    """At most so many rows, evenly spread."""
    rows = len(next(iter(feeds.values())))
    return {name: np.ascontiguousarray(array[:: -(-rows // most)]) for name, array in feeds.items()}


def _harm(candidate: Candidate, baseline: Baseline) -> tuple[int, float]:
    evidence = compare(candidate.session, baseline)
    return evidence.flips.flips, evidence.mean_total_variation


def examine(candidate: Candidate, baseline: Baseline, certificate: Certificate) -> Candidate:
    """Adds the evidence, and the certificate's tolerance or what keeps the variant out."""
    evidence = compare(candidate.session, baseline)
    candidate = replace(candidate, evidence=evidence, failure=gate(evidence))
    try:
        return replace(candidate, tolerance=measure_tolerance(candidate.session, certificate, exact=False))
    except ExportError as error:
        return replace(candidate, failure=candidate.failure or error.what)


def gate(evidence: Evidence) -> str | None:
    """Why this evidence keeps a variant out; None when it does not."""
    flips = evidence.flips
    if flips.states < LEAST_STATES:
        return f"only {flips.states} states to judge by; the gate needs {LEAST_STATES}"
    if flips.upper_95 > MOST_FLIPS:
        return (
            f"{flips.flips} of {flips.states} decisions flip, at most {flips.upper_95:.2%} with 95 % "
            f"confidence; the gate is {MOST_FLIPS:.2%}"
        )
    return None


def fastest(candidates: Sequence[Candidate]) -> Candidate | None:
    """The fastest at one row; among those about as fast, the one with the fewest flips, then the smallest."""
    if not candidates:
        return None
    limit = AS_FAST * min(c.latency_us[1] for c in candidates)
    return min((c for c in candidates if c.latency_us[1] <= limit), key=_rank)


def _rank(candidate: Candidate) -> tuple[float, int]:
    upper = candidate.evidence.flips.upper_95 if candidate.evidence else np.inf
    return upper, len(candidate.model)


def _with_latency(candidates: Sequence[Candidate], baseline: Baseline) -> list[Candidate]:
    latency = measure_latency({c.scheme: c.session for c in candidates}, baseline.feeds)
    return [replace(c, latency_us=latency[c.scheme]) for c in candidates]


def _rejection(candidate: Candidate, chosen: Candidate | None) -> RejectedVariant:
    passed = (
        f"passes its gates; {chosen.scheme} was chosen: faster, or as fast with fewer flips" if chosen else ""
    )
    return RejectedVariant(
        scheme=candidate.scheme,
        reason=candidate.failure or passed,
        flips=candidate.evidence.flips if candidate.evidence else None,
        latency_us=dict(candidate.latency_us),
    )
