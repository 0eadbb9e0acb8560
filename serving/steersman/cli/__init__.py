"""The `steersman` command: puts each component's commands together.

Only signatures are imported here; what a command needs is imported when it runs, so that `steersman --help`
answers at once and the server's installation needs no torch.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from steersman.bundle.errors import SteersmanError
from steersman.cli.act import act
from steersman.cli.check import check
from steersman.cli.demo import demo
from steersman.cli.deploy import deploy
from steersman.cli.health import health
from steersman.cli.override import halt, heartbeat, override, resume
from steersman.cli.policies import policies
from steersman.cli.rules import rules
from steersman.cli.serve import serve
from steersman.cli.tokens import tokens
from steersman.export.cli import export, inspect, verify
from steersman.export.signing.cli import keys, sign
from steersman.training.cli import train

INTERRUPTED = 130
"""128 + SIGINT, what a shell reports for a command stopped by Ctrl-C."""

app = typer.Typer(
    name="steersman",
    help="Take reinforcement-learning policies from training to production, and keep them honest there.",
    epilog="Exit status: 0 fine, 1 the check or the work failed, 2 used wrongly, 130 ended by Ctrl-C.",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _show_version(asked: bool) -> None:  # noqa: FBT001  as typer calls it
    if asked:
        typer.echo(f"steersman {metadata.version('steersman')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_show_version)
]


@app.callback()
def _whole(*, version: Version = False) -> None:
    del version


for panel, commands in {
    "From nothing to a served policy": (demo,),
    "Make policies": (train, export, verify, inspect, sign),
    "Serve policies": (serve, check),
    "Use policies": (act, policies, health),
    "Order something in their place": (halt, resume, heartbeat),
}.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(deploy, name="deploy", rich_help_panel="Serve policies")
app.add_typer(rules, name="rules", rich_help_panel="Serve policies")
app.add_typer(override, name="override", rich_help_panel="Order something in their place")
app.add_typer(tokens, name="tokens", rich_help_panel="Serve policies")
app.add_typer(keys, name="keys", rich_help_panel="Make policies")


def main() -> None:
    """Runs the command line. Exit status: 0 fine, 1 the check or the work failed, 2 used wrongly."""
    try:
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except SteersmanError as error:
        _end(str(error), error.exit_code)
    except TyperException as error:
        what = error.format_message().rstrip(".")
        ended = what if what.endswith("?") or not what else f"{what}."
        _end(f"{ended} `steersman COMMAND --help` tells more.".lstrip(), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _end(line: str, status: int) -> NoReturn:
    print(f"steersman: {line}", file=sys.stderr)  # noqa: T201  the one place where errors are printed
    sys.exit(status)
