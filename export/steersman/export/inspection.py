"""What `steersman verify` and `steersman inspect` do."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from steersman.bundle.bundle import Bundle
from steersman.export.report.display import print_contract, print_verification
from steersman.export.verify import Verification, verify_bundle


def run_verify(path: Path, *, as_json: bool) -> int:
    """Checks the bundle, prints the outcome, and returns the exit status."""
    verification = verify_bundle(path)
    if as_json:
        typer.echo(json.dumps(_as_data(verification), indent=2))
    else:
        print_verification(verification)
    return 0 if verification.passed else 1


def run_inspect(path: Path, *, as_json: bool) -> None:
    """Prints the contract; as JSON, the whole manifest."""
    bundle = Bundle.open(path)
    if as_json:
        typer.echo(bundle.manifest.model_dump_json(indent=2))
    else:
        print_contract(bundle)


def _as_data(verification: Verification) -> dict[str, object]:
    return {
        "passed": verification.passed,
        "digest": verification.bundle.digest,
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
