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
from steersman.cli.control_calls import read

if TYPE_CHECKING:
    from steersman.client import PolicyClient
    from steersman.client.security import Security

TOKEN_VARIABLE = "STEERSMAN_TOKEN"  # noqa: S105  a variable's name

DEFAULT_TARGET = "127.0.0.1:50051"
Target = Annotated[str, typer.Option(help="Address of the server.", envvar="STEERSMAN_TARGET")]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds to wait for the answer.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

START_HINT = "Start one with `steersman serve`, or say with --target where it is."


def security_of(token_file: Path | None, ca: Path | None) -> Security:
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
    if ca:
        given["ca"] = read(ca, "--ca")
    return given


@contextmanager
def calling(target: str, timeout: float, security: Security | None = None) -> Iterator[PolicyClient]:
    """A client; its errors become this command's.

    Raises:
        SteersmanError: The call failed.
    """
    from steersman.client import ClientError, PolicyClient, PolicyNotFoundError, ServerUnavailableError

    try:
        with PolicyClient(target, timeout=timeout, **(security or {})) as client:
            yield client
    except PolicyNotFoundError as error:
        raise SteersmanError(error.message, hint="`steersman policies` lists what there is.") from error
    except ServerUnavailableError as error:
        raise SteersmanError(error.message, hint=None if error.reason else START_HINT) from error
    except ClientError as error:
        raise SteersmanError(error.message) from error


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
