"""`python -m benchmarks`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.report import tables
from benchmarks.results import Results
from benchmarks.rounds import QUICK, Pace
from benchmarks.run import STARTS, Part, Plan, run
from benchmarks.tables import markdown, print_table
from steersman.bundle.errors import SteersmanError, UsageError

WIDTH = 140  # of tables that do not go to a terminal


def bench(
    *,
    part: Annotated[list[Part] | None, typer.Option(help="Only this part; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Alternating rounds.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="Length of each point.")] = 1.0,
    quick: Annotated[bool, typer.Option("--quick", help="One short round, to see that all works.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Tables in Markdown.")] = False,
    json: Annotated[Path | None, typer.Option(help="File for all figures, each round's too.")] = None,
) -> None:
    """Measure Steersman against bare minimums with the same messages, on loopback.

    Takes about two minutes. What the figures mean: docs/performance.md.
    """
    pace = QUICK if quick else Pace(rounds, seconds)
    plan = Plan(part or tuple(Part), pace, 1 if quick else STARTS)
    if json is not None:
        _check_writable(json)
    log = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="steersman-bench-") as folder, log.status("starting") as status:
        results = run(plan, Path(folder), status.update)
    if json is not None:
        json.write_text(results.to_json())
    _show(results, as_markdown=as_markdown)


def _check_writable(file: Path) -> None:
    """Found out before two minutes of measuring, not after."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(file)) from None


def _show(results: Results, *, as_markdown: bool) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    for name, value in results.machine.items():
        console.print(f"{'- ' if as_markdown else ''}{name}: {value}", highlight=False, soft_wrap=True)
    console.print()
    for table in tables(results):
        if as_markdown:
            print(markdown(table))
        else:
            print_table(table, console)


def main() -> None:
    """Runs the command. Exit status: 0 fine, 1 a measurement failed, 2 used wrongly."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(bench)
    try:
        app()
    except SteersmanError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
