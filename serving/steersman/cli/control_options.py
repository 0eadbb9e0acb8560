"""Options that commands share: how the control service is reached, and who changes something and why.

A command names what it gets, a connection and a change; the decorators put the options into its signature.
"""

from __future__ import annotations

import getpass
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from steersman.cli.connection import TlsOptions
from steersman.cli.control_calls import (
    DEFAULT_SERVER,
    DEFAULT_TIMEOUT_S,
    Ca,
    Certificate,
    Key,
    OldServer,
    Server,
    Timeout,
    Token,
    TokenFile,
    control,
)

Reason = Annotated[str, typer.Option(help="Why; goes into the history.")]
Actor = Annotated[
    str, typer.Option(help="Who; where the server knows its callers, it is they.", show_default="you")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check it and show what it would do; nothing is changed.")
]
Expect = Annotated[
    int, typer.Option("--expect-revision", min=0, help="Fail if there is a newer one; 0: whatever it is.")
]
Command = Callable[..., None]


def connected(command: Command) -> Command:
    """Calls the command with a connection to the control service as its first argument."""

    def options(
        *,
        server: Server = DEFAULT_SERVER,
        old_server: OldServer = "",
        token_file: TokenFile = None,
        token: Token = "",
        ca: Ca = None,
        certificate: Certificate = None,
        key: Key = None,
        timeout: Timeout = DEFAULT_TIMEOUT_S,
    ) -> Any:
        tls = TlsOptions.read(ca, certificate, key)
        return control(old_server or server, timeout=timeout, token=token, token_file=token_file, tls=tls)

    def run(connection: Any, *args: Any, **kwargs: Any) -> None:
        with connection as call:
            command(call, *args, **kwargs)

    return _with_options(command, options, run)


def changing(command: Command) -> Command:
    """Calls the command with a `Change` as its second argument, after the connection."""

    def options(
        *, reason: Reason = "", actor: Actor = "", dry_run: DryRun = False, expect: Expect = 0
    ) -> Any:
        from steersman.v1 import control_pb2 as pb

        return pb.Change(actor=actor or user(), reason=reason, expected_revision=expect, dry_run=dry_run)

    def run(change: Any, call: Any, *args: Any, **kwargs: Any) -> None:
        command(call, change, *args, **kwargs)

    return _with_options(command, options, run, first=1)


def _with_options(
    command: Command, options: Callable[..., Any], run: Callable[..., None], first: int = 0
) -> Command:
    """A command with the options in its signature, in place of its parameter number `first`."""
    taken = inspect.signature(options, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True, locals=_UNSEEN).parameters.values())
    own.pop(first)

    @wraps(command)
    def called(*args: Any, **kwargs: Any) -> None:
        given = {name: kwargs.pop(name) for name in taken if name in kwargs}
        run(options(**given), *args, **kwargs)

    parameters = sorted([*own, *taken.values()], key=lambda parameter: parameter.kind)
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


_UNSEEN: dict[str, Any] = {"Change": Any}
"""Types of what commands get that are imported for checkers alone."""


def user() -> str:
    """Who runs this; empty where that has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        return ""
