"""What the commands that call a server share: where it is, its errors in their words, aligned output."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.bundle.errors import SteersmanError
from steersman.cli.connection import TLS_HINTS, TlsOptions, quiet_grpc, read

if TYPE_CHECKING:
    from steersman.client import PolicyClient
    from steersman.client.security import Security

TOKEN_VARIABLE = "STEERSMAN_TOKEN"  # noqa: S105  a variable's name

DEFAULT_TARGET = "127.0.0.1:50051"
Target = Annotated[str, typer.Option("--server", help="Address of the server.", envvar="STEERSMAN_TARGET")]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds to wait for the answer.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

START_HINT = "Start one with `steersman serve`, or say with --server where it is."


def security_of(
    token_file: Path | None, ca: Path | None, certificate: Path | None, key: Path | None
) -> Security:
    """Who calls, and whom they believe: the client's options.

    Raises:
        UsageError: The file cannot be read.
    """
    given: Security = {}
    token = (
        read(token_file, "--token-file").decode().strip() if token_file else os.environ.get(TOKEN_VARIABLE)
    )
    if token:
        given["token"] = token
    tls = TlsOptions.read(ca, certificate, key)
    if tls.ca is not None:
        given["ca"] = tls.ca
    if tls.certificate is not None and tls.key is not None:
        given["certificate"], given["key"] = tls.certificate, tls.key
    return given


@contextmanager
def calling(target: str, timeout: float, security: Security | None = None) -> Iterator[PolicyClient]:
    """A client; its errors become this command's.

    Raises:
        SteersmanError: The call failed.
    """
    quiet_grpc()
    from steersman import client as api
    from steersman.client.mistakes import Mistake

    try:
        with api.PolicyClient(target, timeout=timeout, **(security or {})) as client:
            yield client
    except api.PolicyNotFoundError as error:
        raise SteersmanError(error.message, hint="`steersman policies` lists what there is.") from error
    except api.UnauthenticatedError as error:
        raise _unknown_caller(target, shown="token" in (security or {})) from error
    except api.TlsError as error:
        raise SteersmanError(Mistake(error.reason).what(target), hint=TLS_HINTS[error.reason]) from error
    except api.ServerUnavailableError as error:
        raise SteersmanError(error.message, hint=None if error.reason else START_HINT) from error
    except api.ClientError as error:
        raise SteersmanError(error.message) from error


def _unknown_caller(target: str, *, shown: bool) -> SteersmanError:
    if shown:
        what = "the server does not know the token that was shown"
        return SteersmanError(what, where=target, hint="Is it revoked, or another server's?")
    what = "the server answers callers that it knows; expected their token"
    return SteersmanError(what, where=target, hint="Show it with --token-file or STEERSMAN_TOKEN.")


def print_json(value: Any) -> None:
    """One JSON document."""
    from steersman.client import plain

    typer.echo(json.dumps(plain(value), ensure_ascii=False))


def number_text(number: float) -> str:
    """Six significant digits; what rounds to zero has no sign.

    Example:
        >>> number_text(-0.0), number_text(1 / 3)
        ('0', '0.333333')
    """
    return f"{number:z.6g}"


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """One line per fact, names and values aligned."""
    print_table([(name, value) for name, value in facts])


def print_table(rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their widest cell."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
