"""Which variants the bundle gets: fp32 always, and the fastest 8-bit one that passes its gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from steersman.bundle.certificate import Certificate
from steersman.bundle.manifest import RejectedVariant, Returns, Tolerance
from steersman.bundle.session import PolicySession, reason, usual_outputs
from steersman.bundle.specs import Contract
from steersman.export.errors import ExportError
from steersman.export.evidence.certify import measure_tolerance
from steersman.export.evidence.comparison import Baseline, Evidence, all_feeds, compare
from steersman.export.evidence.latency import measure_latency
from steersman.export.evidence.returns import Episodes, ReturnsOf, acting, return_gate, summarize
from steersman.export.policies.graph import check_graph
from steersman.export.policies.inputs import Inputs
from steersman.export.quantization.dynamic import make_dynamic, mutual_influence
from steersman.export.quantization.quantize import quantize
from steersman.export.vocabulary import Scheme

Array = NDArray[Any]
Progress = Callable[[str, float], None]
"""Told what is going on and the share that is done."""
MOST_FLIPS = 0.005
"""Gate: the upper bound of the rate of changed decisions."""
LEAST_STATES = 10_000
"""Gate: states that the bound must rest on."""
COMPARED = 64
"""States on which a part of a graph is held to the whole before it is timed."""
AS_FAST = 1.10
"""Latencies within this factor count as equal, for the measurement is no finer."""
TRIED = {
    Scheme.STATIC_QDQ: "Trying 8-bit dense layers",
    Scheme.STATIC_QDQ_CONV: "Trying 8-bit with convolutions",
    Scheme.STATIC_QDQ_HIDDEN: "Trying 8-bit hidden layers",
    Scheme.WEIGHT_ONLY: "Trying 8-bit weights",
    Scheme.DYNAMIC: "Trying dynamic 8-bit",
}
"""Schemes in the order in which they are tried, and what a person is told meanwhile."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant, and what has been found out about it so far.

    Attributes:
        scheme: How it was made.
        model: The ONNX file's bytes.
        session: As the server will run it.
        evidence: Against fp32; None for fp32 itself.
        tolerance: For the certificate; None before it was run, and where it failed.
        failures: Why it cannot be shipped.
        latency_us: Median microseconds by batch size.
        episodes: Returns over the paired episodes; None where no environment is known.
        returns: Their summary.
    """

    scheme: Scheme
    model: bytes
    session: PolicySession
    evidence: Evidence | None = None
    tolerance: Tolerance | None = None
    failures: tuple[str, ...] = ()
    latency_us: Mapping[int, float] = field(default_factory=dict)
    episodes: Episodes | None = None
    returns: Returns | None = None

    def failing(self, why: str | None) -> Candidate:
        """With one reason more; the same without one."""
        return replace(self, failures=(*self.failures, why)) if why else self


@dataclass(frozen=True, slots=True)
class Choice:
    """What was decided.

    Attributes:
        fp32: Full precision, always shipped.
        int8: The chosen 8-bit variant, if any passed.
        rejected: The others with the reason and the evidence.
    """

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
        return Candidate(scheme, data, self.load(data, scheme))

    def load(self, data: bytes, scheme: Scheme) -> PolicySession:
        """A session of a variant. It keeps the memory that its largest batch needed."""
        return PolicySession(data, self.contract, self.digest, scheme)

    def prepared(self, candidate: Candidate, rows: Mapping[str, Array]) -> PolicySession:
        """A fresh session that runs no more of the graph than a greedy decision takes, as a server's does."""
        session = self.load(candidate.model, candidate.scheme)
        session.prepare(candidate.model, usual_outputs(self.contract.outputs, "greedy"), rows)
        return session


def choose_variants(
    bench: Workbench,
    fp32: Candidate,
    baseline: Baseline,
    certificate: Certificate,
    *,
    calibration: Inputs,
    returns_of: ReturnsOf | None = None,
    int8: bool = True,
    progress: Progress = lambda _, __: None,
) -> Choice:
    """Makes all candidates, gathers their evidence and picks.

    Args:
        bench: What they have in common.
        fp32: The full-precision variant.
        baseline: Its answers on the states that judge the others.
        certificate: Rows that every variant must pass.
        calibration: States to quantize with; none of them is in the baseline.
        returns_of: Plays the same episodes with whoever acts; None where no environment is known, and then
            there is no return gate.
        int8: False leaves all 8-bit variants out.
        progress: Told what is going on.
    """
    fp32 = replace(fp32, tolerance=measure_tolerance(fp32.session, certificate, exact=True))
    feeds = all_feeds(fp32.session, calibration)
    candidates, rejected = [], []
    for i, (scheme, telling) in enumerate(TRIED.items() if int8 else ()):
        progress(telling, 0.7 * i / len(TRIED))
        try:
            made = make_candidate(bench, scheme, feeds)
            examined = examine(made, baseline, certificate) if made else None
        except ExportError as error:
            rejected.append(RejectedVariant(scheme=scheme, reason=error.what))
            continue
        if examined:
            candidates.append(replace(examined, session=bench.load(examined.model, scheme)))
    progress("Timing the variants", 0.7)
    fp32, *candidates = _with_latency(bench, [fp32, *candidates], baseline)
    if returns_of is not None:
        fp32, *candidates = _with_returns([fp32, *candidates], returns_of, progress)
    chosen = fastest([c for c in candidates if not c.failures])
    rejected += [_rejection(c, chosen) for c in candidates if c is not chosen]
    return Choice(fp32, chosen, tuple(rejected))


def make_candidate(bench: Workbench, scheme: Scheme, feeds: Mapping[str, Array]) -> Candidate | None:
    """One candidate; None where the policy has no layers for this scheme.

    Raises:
        ExportError: ONNX Runtime cannot do what it takes.
    """
    try:
        dynamic = scheme is Scheme.DYNAMIC
        made = make_dynamic(bench.model) if dynamic else quantize(bench.model, scheme, feeds)
        return None if made is None else bench.candidate(check_graph(made), scheme)
    except Exception as error:  # the layers of users' own networks can be of any kind
        raise ExportError(f"it could not be made: {reason(error)}") from error


def examine(candidate: Candidate, baseline: Baseline, certificate: Certificate) -> Candidate:
    """Adds the evidence, and the certificate's tolerance or what keeps the variant out."""
    evidence = compare(candidate.session, baseline)
    candidate = replace(candidate, evidence=evidence)
    if candidate.scheme is Scheme.DYNAMIC:
        return candidate.failing(mutual_influence(candidate.session, baseline))
    candidate = candidate.failing(gate(evidence))
    try:
        return replace(candidate, tolerance=measure_tolerance(candidate.session, certificate, exact=False))
    except ExportError as error:
        return candidate.failing(error.what)


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


def _with_latency(bench: Workbench, candidates: Sequence[Candidate], baseline: Baseline) -> list[Candidate]:
    rows = {name: np.ascontiguousarray(array[:COMPARED]) for name, array in baseline.feeds.items()}
    latency = measure_latency({c.scheme: bench.prepared(c, rows) for c in candidates}, rows)
    return [replace(c, latency_us=latency[c.scheme]) for c in candidates]


def _with_returns(
    candidates: Sequence[Candidate], returns_of: ReturnsOf, progress: Progress
) -> list[Candidate]:
    """The first is fp32, which the others are held to."""
    played: list[Candidate] = []
    for i, candidate in enumerate(candidates):
        progress(f"Playing episodes with {candidate.scheme}", 0.75 + 0.25 * i / len(candidates))
        episodes = returns_of(acting(candidate.session))
        fp32 = played[0].episodes if played else None
        judged = candidate if fp32 is None else candidate.failing(return_gate(episodes, fp32))
        played.append(replace(judged, episodes=episodes, returns=summarize(episodes, fp32)))
    return played


def _rejection(candidate: Candidate, chosen: Candidate | None) -> RejectedVariant:
    evidence = candidate.evidence
    passed = (
        f"passes its gates; {chosen.scheme} was chosen: faster, or as fast with fewer flips" if chosen else ""
    )
    return RejectedVariant(
        scheme=candidate.scheme,
        reason="; ".join(candidate.failures) or passed,
        size_bytes=len(candidate.model),
        flips=evidence.flips if evidence else None,
        latency_us=dict(candidate.latency_us),
        max_error=evidence.max_error if evidence else None,
        mean_total_variation=evidence.mean_total_variation if evidence else None,
        returns=candidate.returns,
    )
