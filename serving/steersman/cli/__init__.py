"""The `steersman` command: puts each component's commands together.

Only signatures are imported here; what a command needs is imported when it runs, so that `steersman --help`
answers at once and the server's installation needs no torch.
"""

from __future__ import annotations

import sys

import typer

from steersman.bundle.errors import SteersmanError
from steersman.cli.act import act
from steersman.cli.demo import demo
from steersman.cli.health import health
from steersman.cli.policies import policies
from steersman.cli.serve import serve
from steersman.export.cli import export, inspect, verify
from steersman.training.cli import train

app = typer.Typer(
    name="steersman",
    help="Take reinforcement-learning policies from training to production, and keep them honest there.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for panel, commands in {
    "From nothing to a served policy": (demo,),
    "Make policies": (train, export, verify, inspect),
    "Serve policies": (serve,),
    "Use policies": (act, policies, health),
}.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)


def main() -> None:
    """Runs the command line. Exit status: 0 fine, 1 the check or the work failed, 2 used wrongly."""
    try:
        app()
    except SteersmanError as error:
        print(f"steersman: {error}", file=sys.stderr)  # noqa: T201  the one place where errors are printed
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
