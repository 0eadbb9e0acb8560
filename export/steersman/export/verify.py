"""Checking a bundle anywhere: signatures, files, and every variant's certificate. No torch is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steersman.bundle.bundle import Bundle
from steersman.bundle.certificate import CertificateResult
from steersman.bundle.certify import VariantCheck, certify_variants
from steersman.bundle.signature import ASK_NOBODY, SignatureCheck, Trust, check_signatures


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked.

    Attributes:
        bundle: The bundle, whose files are as published.
        signatures: Who signed it; all that could be checked fit.
        results: Each variant's certificate.
    """

    bundle: Bundle
    signatures: SignatureCheck
    results: dict[str, CertificateResult]

    @property
    def passed(self) -> bool:
        """True when every variant answers as recorded."""
        return all(result.passed for result in self.results.values())


def verify_bundle(path: Path, trust: Trust = ASK_NOBODY) -> Verification:
    """Checks the signatures, reads every file, and runs the certificate with every variant.

    A variant that cannot be run has failed. Nothing is run unless the signatures and the files are right.

    Raises:
        BundleError: There is no bundle, a file is missing, changed or malformed, or a signature does not fit
            or is missing where `trust` requires one.
    """
    bundle = Bundle.open(path)
    signatures = check_signatures(bundle, trust)
    bundle.verify()
    results = {name: _result(check) for name, check in certify_variants(bundle).items()}
    return Verification(bundle, signatures, results)


def _result(check: VariantCheck) -> CertificateResult:
    return check.result or CertificateResult(rows=0, failures=(check.failure,), max_error=0.0, flips=0)
