"""Checking a bundle anywhere: every file's digest, and every variant's certificate. No torch is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steersman.bundle.bundle import Bundle
from steersman.bundle.certificate import Certificate, CertificateResult, run_certificate
from steersman.bundle.manifest import CERTIFICATE_FILE
from steersman.bundle.session import PolicySession


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
    """Reads every file and runs every certificate.

    Raises:
        BundleError: There is no bundle, or a file is missing, changed or malformed.
    """
    bundle = Bundle.open(path)
    bundle.verify()
    manifest = bundle.manifest
    certificate = Certificate.unpack(bundle.read(CERTIFICATE_FILE), str(path / CERTIFICATE_FILE))
    results: dict[str, CertificateResult] = {}
    for name, variant in manifest.variants.items():
        session = PolicySession(
            bundle.read(variant.file), manifest.contract, manifest.contract_digest, str(path / variant.file)
        )
        results[name] = run_certificate(session, certificate, variant.tolerance)
    return Verification(bundle, results)
