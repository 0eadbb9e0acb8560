"""Certifying a bundle on this host: each variant that it has, loaded and checked against the certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steersman.bundle.bundle import Bundle
from steersman.bundle.certificate import Certificate, CertificateResult, run_certificate
from steersman.bundle.errors import BundleError
from steersman.bundle.manifest import CERTIFICATE_FILE, Variant
from steersman.bundle.session import PolicySession


@dataclass(frozen=True, slots=True)
class VariantCheck:
    """What became of one variant on this host.

    Attributes:
        session: The variant, ready to run; None unless it passed, so that no other is used by mistake.
        result: What the certificate showed; None where it could not be run.
        failure: Why the variant may not be used here; empty when it passed. It holds no paths.
    """

    session: PolicySession | None
    result: CertificateResult | None
    failure: str = ""

    @property
    def passed(self) -> bool:
        """True when the variant may be used."""
        return not self.failure


def certify_variants(bundle: Bundle) -> Mapping[str, VariantCheck]:
    """Checks every variant, by name. One that cannot be loaded or run has failed; the others go on.

    Raises:
        BundleCorruptError: The certificate itself is missing, changed or malformed.
    """
    where = str(bundle.path / CERTIFICATE_FILE)
    certificate = Certificate.unpack(bundle.read(CERTIFICATE_FILE), where)
    return {
        name: _certify(bundle, variant, certificate) for name, variant in bundle.manifest.variants.items()
    }


def _certify(bundle: Bundle, variant: Variant, certificate: Certificate) -> VariantCheck:
    manifest, where = bundle.manifest, str(bundle.path / variant.file)
    try:
        session = PolicySession(bundle.read(variant.file), manifest.contract, manifest.contract_digest, where)
        result = run_certificate(session, certificate, variant.tolerance)
    except BundleError as error:
        return VariantCheck(
            None, None, f"{error.what}; expected {error.expected}" if error.expected else error.what
        )
    return VariantCheck(session if result.passed else None, result, "; ".join(result.failures))
