"""`python -m benchmarks.peers`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.errors import BenchmarkError
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.peer import Peer
from benchmarks.peers.report import tables
from benchmarks.peers.run import Comparison, compare
from benchmarks.peers.venvs import default_folder, environment
from benchmarks.rounds import Pace
from benchmarks.tables import markdown, print_table
from steersman.bundle.errors import SteersmanError, UsageError

WIDTH = 150  # of tables that do not go to a terminal
QUICK = Pace(rounds=1, seconds=0.5)

NAMES = tuple(peer.lock_file.stem for peer in PEERS)
"""What the peers are called on the command line."""


def bench_peers(
    *,
    peer: Annotated[
        list[str] | None, typer.Option(help=f"Only this one of {', '.join(NAMES)}; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Alternating rounds.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="Length of each point.")] = 1.0,
    quick: Annotated[bool, typer.Option("--quick", help="One short round, to see that all works.")] = False,
    install: Annotated[bool, typer.Option("--install", help="Only install the peers.")] = False,
    venvs: Annotated[Path | None, typer.Option(help="Folder of their environments.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Tables in Markdown.")] = False,
    json: Annotated[Path | None, typer.Option(help="File for all figures, each round's too.")] = None,
) -> None:
    """Measure Steersman beside other model servers, same model and load, on loopback.

    The peers are installed once, some minutes and 2 GB, into environments outside of the repository. What
    the figures mean: docs/performance-peers.md.
    """
    chosen = _choose(peer)
    folder = venvs or default_folder()
    if install:
        _install(chosen, folder)
        return
    log = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary, log.status("starting") as status:
        pace = QUICK if quick else Pace(rounds, seconds)
        found = compare(chosen, pace, folder, Path(temporary), status.update)
    if json is not None:
        json.write_text(found.to_json())
    _show(found, as_markdown=as_markdown)


def _choose(names: list[str] | None) -> list[Peer]:
    if unknown := set(names or ()) - set(NAMES):
        raise UsageError(f"there is no peer {', '.join(sorted(unknown))}", expected=", ".join(NAMES))
    return [each for each in PEERS if not names or each.lock_file.stem in names]


def _install(peers: list[Peer], folder: Path) -> None:
    """Makes the environments; the first that cannot be made ends it, after the others were tried."""
    errors: list[BenchmarkError] = []
    for each in peers:
        try:
            print(f"{each.name}: {environment(each, folder)}", flush=True)
        except BenchmarkError as error:
            print(error, flush=True)
            errors.append(error)
    if errors:
        raise errors[0]


def _show(found: Comparison, *, as_markdown: bool) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    facts = {**found.machine, "pace": f"{found.pace.rounds} rounds of {found.pace.seconds:g} s per point"}
    for name, value in facts.items():
        console.print(f"{'- ' if as_markdown else ''}{name}: {value}", highlight=False, soft_wrap=True)
    console.print()
    for table in tables(found):
        if as_markdown:
            print(markdown(table))
        else:
            print_table(table, console)


def main() -> None:
    """Runs the command. Exit status: 0 fine, 1 a measurement failed, 2 used wrongly."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(bench_peers)
    try:
        app()
    except SteersmanError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
