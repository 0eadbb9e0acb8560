"""`steersman tokens`: who may call a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from steersman.cli.calling import AsJson, print_json, print_table

FILE_HELP = "The server's file of callers, as its setting `tokens` names it."
HASH_SHOWN = 12
"""Digits of a hash that tell it from others."""

Name = Annotated[str, typer.Option(help="Who; shown in logs and the history.", show_default=False)]
RoleName = Annotated[
    Literal["decide", "operate", "admin"],
    typer.Option(help="What they may do: decide, operate (move deployments too) or admin (everything)."),
]
File = Annotated[Path, typer.Option(help=FILE_HELP, envvar="STEERSMAN_TOKENS", show_default=False)]
FileOrNone = Annotated[Path | None, typer.Option(help=FILE_HELP, envvar="STEERSMAN_TOKENS")]

tokens = typer.Typer(help="Say who may call a server.", no_args_is_help=True)


@tokens.command()
def new(*, name: Name, role: RoleName = "decide", file: FileOrNone = None, as_json: AsJson = False) -> None:
    """Make a token, and print it: once, for only its hash is kept.

    Its entry is added to --file, which a running server reads again by itself;
    without one the entry is printed on standard error.

    Example: steersman tokens new --name picking-robots --file tokens.yaml
    """
    import yaml

    from steersman.bundle.validation import validated
    from steersman.serving.security.access import Caller, new_token, token_hash

    token = new_token()
    entry = {"name": name, "role": role, "sha256": token_hash(token)}
    caller = validated(Caller, entry, where="tokens new")
    if file is not None:
        from steersman.serving.security.access_edits import add_caller

        _tell_rewritten(file, rewritten=add_caller(file, caller).rewritten)
    else:
        typer.echo(yaml.safe_dump([entry], sort_keys=False).strip(), err=True)
    if as_json:
        print_json({**entry, "token": token})
    else:
        typer.echo(token)


@tokens.command("list")
def list_callers(*, file: File, as_json: AsJson = False) -> None:
    """Print who may call. No token can be shown: there are only hashes."""
    from steersman.serving.security.access_file import read_access

    callers = read_access(file).callers
    if as_json:
        print_json([caller.model_dump(mode="json", exclude_none=True) for caller in callers])
    elif not callers:
        typer.echo(f"{file} has no callers: the server refuses everybody")
    else:
        rows = [
            (
                caller.name,
                caller.role,
                f"certificate {caller.certificate}"
                if caller.certificate
                else f"token {(caller.sha256 or '')[:HASH_SHOWN]}...",
            )
            for caller in callers
        ]
        print_table([("name", "role", "known by"), *rows])


@tokens.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Name of the caller.", show_default=False)], *, file: File
) -> None:
    """Take a caller out of the file. A running server refuses its next call; streams that are open go on."""
    from steersman.serving.security.access_edits import revoke_caller

    _tell_rewritten(file, rewritten=revoke_caller(file, name).rewritten)
    typer.echo(f"{name} is no longer in {file}", err=True)


def _tell_rewritten(file: Path, *, rewritten: bool) -> None:
    if rewritten:
        typer.echo(f"{file} was written anew: comments in it are lost", err=True)
