"""The verdict: what was shown about a policy, what was not, and what a reader must know first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from steersman.bundle.manifest import Manifest
from steersman.export.report.wording import (
    count,
    difference_text,
    flips_text,
    parity_text,
    printable,
    reference_lines,
    reference_source,
)

Standing = Literal["Passed", "Note", "Not measured"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the verdict: the question, how it came out, and what that rests on."""

    question: str
    standing: Standing
    basis: str


def headline(manifest: Manifest) -> str:
    """The verdict in a sentence."""
    shipped = " and ".join(manifest.variants)
    states = f"{manifest.parity.states:,} states"
    return f"Proven equal to SB3 in {states}, from {reference_source(manifest)}. Shipped as {shipped}."


def findings(manifest: Manifest) -> Iterator[Finding]:
    """Every question, answered. None can have failed: a policy that fails is not written."""
    yield Finding("Answers as SB3's predict does", "Passed", parity_text(manifest.parity))
    yield Finding("Rows do not influence each other", "Passed", "same bits alone, in a batch, beside NaN")
    yield _quantization(manifest)
    yield _returns(manifest)
    yield _reference(manifest)
    if wrappers := manifest.contract.wrappers:
        names = ", ".join(printable(wrapper.name) for wrapper in wrappers)
        yield Finding("Wrappers that callers must apply", "Note", names)
    if modules := manifest.provenance.trusted_code:
        basis = f"imported by whoever exported it: {printable(', '.join(modules))}"
        yield Finding("Code of the policy's own", "Note", basis)


def _quantization(manifest: Manifest) -> Finding:
    question = "int8 decides as fp32 does"
    int8 = manifest.variants.get("int8")
    if int8 is not None and int8.flips is not None:
        basis = f"{printable(int8.scheme)}: {flips_text(int8.flips)} decisions changed"
        if manifest.reference.synthetic:
            return Finding(question, "Note", f"{basis}, but only on samples of the observation space")
        return Finding(question, "Passed", basis)
    if manifest.rejected_variants:
        tried = count(len(manifest.rejected_variants), "scheme")
        return Finding(question, "Note", f"none of {tried} passed its gates; the bundle has fp32 only")
    return Finding(question, "Not measured", "the bundle has fp32 only")


def _returns(manifest: Manifest) -> Finding:
    question = "int8 reaches fp32's return"
    int8 = manifest.variants.get("int8")
    returns = int8.returns if int8 else None
    if returns is None:
        why = "there is no int8 variant" if int8 is None else "no environment to play episodes in was known"
        return Finding(question, "Not measured", why)
    episodes = count(returns.episodes, "paired episode")
    return Finding(question, "Passed", f"difference {difference_text(returns)} over {episodes}")


def _reference(manifest: Manifest) -> Finding:
    basis = "; ".join((reference_source(manifest), *reference_lines(manifest)))
    standing: Standing = "Note" if manifest.reference.synthetic else "Passed"
    return Finding("Evidence is from the policy's own work", standing, basis)
