"""Checking a bundle anywhere: every file's digest, and every variant's certificate. No torch is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steersman.bundle.bundle import Bundle
from steersman.bundle.certificate import CertificateResult
from steersman.bundle.certify import VariantCheck, certify_variants


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked: the bundle, whose files are as published, and each variant's certificate."""

    bundle: Bundle
    results: dict[str, CertificateResult]

    @property
    def passed(self) -> bool:
        """True when every variant answers as recorded."""
        return all(result.passed for result in self.results.values())


def verify_bundle(path: Path) -> Verification:
    """Reads every file and runs the certificate with every variant; one that cannot be run has failed.

    Raises:
        BundleError: There is no bundle, or a file is missing, changed or malformed.
    """
    bundle = Bundle.open(path)
    bundle.verify()
    return Verification(bundle, {name: _result(check) for name, check in certify_variants(bundle).items()})


def _result(check: VariantCheck) -> CertificateResult:
    return check.result or CertificateResult(rows=0, failures=(check.failure,), max_error=0.0, flips=0)
