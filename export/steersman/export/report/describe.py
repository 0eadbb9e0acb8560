"""What the manifest says about where a policy comes from and which variants it has."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from steersman.bundle.digest import sha256
from steersman.bundle.manifest import Environment, Provenance, Variant
from steersman.export.errors import ExportError, ExportUsageError
from steersman.export.libraries import exporting_versions
from steersman.export.quantization.variants import Candidate, Choice
from steersman.export.reading.load import SavedPolicy
from steersman.export.sources.environments import Stage
from steersman.export.sources.source import Source

FP32_FILE = "policy.onnx"
INT8_FILE = "policy.int8.onnx"


def provenance(saved: SavedPolicy, source: Source, stage: Stage | None) -> Provenance:
    """Where it comes from. Versions are marked `trained.` and `exported.`, as libraries change in between."""
    libraries = {f"trained.{name}": version for name, version in saved.libraries.items()}
    libraries |= {f"exported.{name}": version for name, version in exporting_versions().items()}
    return Provenance(
        algorithm=saved.algorithm,
        libraries=libraries,
        zip_sha256=saved.zip_sha256,
        vecnormalize_sha256=_file_digest(source.vecnormalize) if source.vecnormalize else None,
        environment=_environment(source, stage),
        run=source.run,
        mean_return=source.mean_return,
        train_steps=source.train_steps or saved.train_steps,
        trusted_code=saved.trusted_code,
    )


def _file_digest(path: Path) -> str:
    try:
        return sha256(path.read_bytes())
    except OSError as error:
        raise ExportUsageError(f"it cannot be read: {error.strerror}", where=str(path)) from error


def _environment(source: Source, stage: Stage | None) -> Environment | None:
    """Where it was played; otherwise what is said about where it was trained."""
    if stage is not None:
        return Environment(id=stage.id, kwargs=dict(stage.kwargs), import_module=source.env_import)
    if source.env_id is None:
        return None
    return Environment(
        id=source.env_id, kwargs=dict(source.env_kwargs or {}), import_module=source.env_import
    )


def describe_variants(choice: Choice) -> dict[Literal["fp32", "int8"], Variant]:
    """The variants that are shipped."""
    variants: dict[Literal["fp32", "int8"], Variant] = {"fp32": _describe(choice.fp32, FP32_FILE)}
    if choice.int8 is not None:
        variants["int8"] = _describe(choice.int8, INT8_FILE)
    return variants


def _describe(candidate: Candidate, file: str) -> Variant:
    if candidate.tolerance is None:
        raise ExportError(f"{candidate.scheme} was not run against the certificate")
    evidence = candidate.evidence
    return Variant(
        file=file,
        scheme=candidate.scheme,
        size_bytes=len(candidate.model),
        latency_us=dict(candidate.latency_us),
        tolerance=candidate.tolerance,
        flips=evidence.flips if evidence else None,
        max_error=evidence.max_error if evidence else None,
        mean_total_variation=evidence.mean_total_variation if evidence else None,
        returns=candidate.returns,
    )
