"""Certifying a bundle on this host: each variant that it has, loaded and checked against the certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from steersman.bundle.bundle import Bundle
from steersman.bundle.certificate import Certificate, CertificateResult, run_certificate
from steersman.bundle.errors import BundleError
from steersman.bundle.manifest import CERTIFICATE_FILE, Variant
from steersman.bundle.session import PolicySession, usual_outputs

PREPARING_ROWS = 64
"""Rows of the certificate, from all over it, that show that a part of a graph answers as the whole does. The
nodes are the same and have answered every row; asking all of them again would double the time of a check."""


@dataclass(frozen=True, slots=True)
class VariantCheck:
    """What became of one variant on this host.

    Attributes:
        session: The variant, ready to run and prepared for the usual calls of its modes; None unless it
            passed, so that no other is used by mistake.
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
        model = bundle.read(variant.file)
        session = PolicySession(model, manifest.contract, manifest.contract_digest, where)
        result = run_certificate(session, certificate, variant.tolerance)
    except BundleError as error:
        return VariantCheck(
            None, None, f"{error.what}; expected {error.expected}" if error.expected else error.what
        )
    if not result.passed:
        return VariantCheck(None, result, "; ".join(result.failures))
    _prepare(session, model, certificate)
    return VariantCheck(session, result)


def _prepare(session: PolicySession, model: bytes, certificate: Certificate) -> None:
    every = -(-len(certificate.tie) // PREPARING_ROWS)
    rows = {name: np.ascontiguousarray(array[::every]) for name, array in certificate.inputs.items()}
    for mode in session.contract.modes:
        session.prepare(model, usual_outputs(session.contract.outputs, mode), rows)
