"""`steersman sign` and `steersman keys`: the commands, without the libraries that they need to run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steersman.export.options import BundlePath, Json

PASSPHRASE_VARIABLE = "STEERSMAN_KEY_PASSPHRASE"  # noqa: S105  a variable's name
KEY_HELP = (
    f"Private key that `steersman keys generate` wrote. Its passphrase: {PASSPHRASE_VARIABLE}, or asked."
)
Key = Annotated[Path, typer.Option(help=KEY_HELP, show_default=False)]
KeyName = Annotated[Path, typer.Argument(help="Path without its ending: NAME.private.pem is written.")]
KeyFile = Annotated[Path, typer.Argument(help="A public key.")]
Passphrase = Annotated[
    bool, typer.Option("--passphrase", help=f"Encrypt it: {PASSPHRASE_VARIABLE}, or ask for a passphrase.")
]

keys = typer.Typer(help="Make the keys that bundles are signed with.", no_args_is_help=True)


def sign(bundle: BundlePath, *, key: Key, json: Json = False) -> None:
    """Sign a bundle: vouch for its manifest, and so for every file that it names.

    The signature is added as manifest.sig, beside others; nothing else of the
    bundle changes. `steersman verify --trusted-key` and the server check it.

    Exit status: 0 signed, 1 the bundle is not as published, 2 used wrongly.
    """
    from steersman.export.signing.command import run_sign

    run_sign(bundle, key, as_json=json)


@keys.command()
def generate(name: KeyName, *, passphrase: Passphrase = False, json: Json = False) -> None:
    """Make a key: NAME.private.pem, for you alone, and NAME.public.pem, for all who check signatures.

    A file that is there already is never overwritten.
    """
    from steersman.export.signing.command import run_generate

    run_generate(name, encrypt=passphrase, as_json=json)


@keys.command()
def show(file: KeyFile, *, json: Json = False) -> None:
    """Print the id of a public key: the SHA-256 of its DER, which signatures name."""
    from steersman.export.signing.command import run_show

    run_show(file, as_json=json)
