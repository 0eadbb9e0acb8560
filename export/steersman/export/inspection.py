"""What `steersman verify` and `steersman inspect` do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from steersman.bundle.bundle import Bundle
from steersman.bundle.signature import ASK_NOBODY, Trust, check_signatures, read_public_keys
from steersman.export.report.display import print_contract, print_verification
from steersman.export.verify import Verification, verify_bundle


def run_verify(path: Path, *, trusted_keys: Sequence[Path] = (), as_json: bool) -> int:
    """Checks the bundle, prints the outcome, and returns the exit status.

    Args:
        path: The bundle's folder.
        trusted_keys: Files of public keys; with any, a valid signature by one of them is required.
        as_json: Print JSON.
    """
    keys = read_public_keys(trusted_keys)
    verification = verify_bundle(path, Trust(keys=keys, required=bool(keys)))
    if as_json:
        typer.echo(json.dumps(_as_data(verification), indent=2))
    else:
        print_verification(verification)
    return 0 if verification.passed else 1


def run_inspect(path: Path, *, as_json: bool) -> None:
    """Prints the contract and the evidence; as JSON, the whole manifest.

    Raises:
        BundleError: There is no bundle, or its signature does not fit.
    """
    bundle = Bundle.open(path)
    signatures = check_signatures(bundle, ASK_NOBODY)
    if as_json:
        typer.echo(bundle.manifest.model_dump_json(indent=2))
    else:
        print_contract(bundle, signatures)


def _as_data(verification: Verification) -> dict[str, object]:
    signatures = verification.signatures
    return {
        "passed": verification.passed,
        "digest": verification.bundle.digest,
        "signed_by": list(signatures.signers),
        "trusted": list(signatures.trusted),
        "files": len(verification.bundle.manifest.files),
        "variants": {
            name: {
                "passed": result.passed,
                "rows": result.rows,
                "max_error": result.max_error,
                "flips": result.flips,
                "failures": list(result.failures),
            }
            for name, result in verification.results.items()
        },
    }
