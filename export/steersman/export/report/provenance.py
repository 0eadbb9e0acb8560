"""Where a policy comes from and what its bundle rests on, as pairs of a label and a text."""

from __future__ import annotations

from collections.abc import Iterator

from steersman.bundle.manifest import Manifest
from steersman.export.report.wording import environment_text, library_versions, printable

Fact = tuple[str, str]


def provenance_facts(manifest: Manifest) -> Iterator[Fact]:
    """What is known of the policy's making; nothing is said of what is not known."""
    made = manifest.provenance
    yield "Algorithm", printable(made.algorithm)
    if made.environment:
        yield "Environment", environment_text(made.environment)
    if made.run:
        yield "Training run", printable(made.run)
    if made.train_steps:
        yield "Steps trained", f"{made.train_steps:,}"
    if made.mean_return is not None:
        yield "Mean return in evaluation", f"{made.mean_return:g}"
    if made.trusted_code:
        yield "Imported to read it", printable(", ".join(made.trusted_code))
    for when in ("trained", "exported"):
        if versions := library_versions(made.libraries.items(), when):
            yield f"{when.capitalize()} with", versions
    yield "Exported", f"{manifest.created:%Y-%m-%d %H:%M} UTC, ONNX opset {manifest.opset}"


def digest_facts(manifest: Manifest) -> Iterator[Fact]:
    """SHA-256 of everything that went in and came out."""
    made = manifest.provenance
    yield "SB3 file", made.zip_sha256
    if made.vecnormalize_sha256:
        yield "VecNormalize statistics", made.vecnormalize_sha256
    yield "Contract", manifest.contract_digest
    for name, entry in manifest.files.items():
        yield name, entry.sha256
