"""What `steersman sign` and `steersman keys` do once their options are read."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import typer

from steersman.bundle.bundle import Bundle
from steersman.bundle.signature import key_id, read_public_keys
from steersman.export.errors import ExportUsageError
from steersman.export.signing.cli import PASSPHRASE_VARIABLE
from steersman.export.signing.keys import SigningKey, write_new_key
from steersman.export.signing.sign import sign_bundle


def run_sign(path: Path, key_file: Path, *, as_json: bool) -> None:
    """Signs a bundle and says by which key."""
    bundle = Bundle.open(path)
    key = open_key(key_file)
    added = sign_bundle(bundle, key)
    if as_json:
        _print_json(signed_by=key.key_id, added=added, digest=bundle.digest)
    else:
        done = "Signed" if added else "Was signed already"
        typer.echo(f"{done} by key {key.key_id}: {bundle.path}")


def run_generate(name: Path, *, encrypt: bool, as_json: bool) -> None:
    """Makes a pair of keys and says where they are."""
    made = write_new_key(name, _new_passphrase() if encrypt else None)
    if as_json:
        _print_json(private=str(made.private), public=str(made.public), key_id=made.key_id)
        return
    typer.echo(f"Private  {made.private}  sign with it, and keep it secret")
    typer.echo(f"Public   {made.public}  give it to all who check signatures")
    typer.echo(f"Key id   {made.key_id}")


def run_show(path: Path, *, as_json: bool) -> None:
    """Prints the id of a public key."""
    (key,) = read_public_keys([path])
    if as_json:
        _print_json(key_id=key_id(key))
    else:
        typer.echo(key_id(key))


def open_key(path: Path) -> SigningKey:
    """Reads a private key; its passphrase comes from the environment, or from who sits at the terminal.

    Raises:
        ExportUsageError: It cannot be read, or the passphrase is wrong or nowhere to be had.
    """
    return SigningKey.load(path, lambda: _passphrase(f"Passphrase of {path}", confirm=False))


def _new_passphrase() -> str:
    passphrase = _passphrase("Passphrase of the new key", confirm=True)
    if not passphrase:
        raise ExportUsageError("the passphrase is empty", where="--passphrase", expected="some characters")
    return passphrase


def _passphrase(prompt: str, *, confirm: bool) -> str:
    if (given := os.environ.get(PASSPHRASE_VARIABLE)) is not None:
        return given
    if not sys.stdin.isatty():
        raise ExportUsageError(
            "a passphrase is needed, and there is no terminal to ask at",
            hint=f"Put it in the variable {PASSPHRASE_VARIABLE}.",
        )
    asked: str = typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    return asked


def _print_json(**result: object) -> None:
    typer.echo(json.dumps(result, indent=2))
