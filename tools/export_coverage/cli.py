"""`python -m tools.export_coverage`: run the matrix, show a line for every cell, write the document."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.export_coverage.factors import Cell
from tools.export_coverage.matrix import all_cells, pairwise_cells
from tools.export_coverage.outcomes import ROOT, Outcome, Outcomes
from tools.export_coverage.running import run_all
from tools.export_coverage.table import document

DOCUMENT = ROOT / "docs" / "export-coverage.md"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what has not passed yet; the exit code is 1 when a cell does not pass."""
    asked = _arguments(argv)
    asked.fp32 |= asked.pairwise
    cells = [
        cell for cell in (pairwise_cells() if asked.pairwise else all_cells()) if asked.only in str(cell)
    ]
    outcomes = Outcomes(asked.folder, int8=not asked.fp32, stale=asked.stale)
    known = {} if asked.fresh else _passed(cells, outcomes)
    found = known | _run(cells, known, outcomes, asked)
    if len(found) == len(all_cells()) and not asked.fp32:
        DOCUMENT.write_text(document({cell: found[cell] for cell in cells}), encoding="utf-8")
        print(f"written: {DOCUMENT.relative_to(ROOT)}")
    return _conclude(found)


def _passed(cells: Sequence[Cell], outcomes: Outcomes) -> dict[Cell, Outcome]:
    kept = {cell: outcomes.find(cell) for cell in cells}
    return {cell: outcome for cell, outcome in kept.items() if outcome and outcome.verdict == "passed"}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make export-coverage ARGS=...", description=__doc__)
    parser.add_argument("--pairwise", action="store_true", help="the few cells of CI, without 8-bit variants")
    parser.add_argument("--fp32", action="store_true", help="without 8-bit variants; writes no document")
    parser.add_argument("--only", default="", metavar="TEXT", help="cells whose line has this text")
    parser.add_argument("--fresh", action="store_true", help="run what has passed, too")
    parser.add_argument("--stale", action="store_true", help="let outcomes of other code count")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "export-coverage", help="where outcomes are kept"
    )
    return parser.parse_args(argv)


def _run(
    cells: Sequence[Cell], known: dict[Cell, Outcome], outcomes: Outcomes, asked: argparse.Namespace
) -> dict[Cell, Outcome]:
    left, found, began = [cell for cell in cells if cell not in known], {}, time.monotonic()
    print(f"{len(cells)} cells, {len(known)} passed before, {len(left)} to run in {asked.jobs} processes")
    for cell, outcome in run_all(left, jobs=asked.jobs, int8=not asked.fp32):
        found[cell] = outcome
        outcomes.keep(cell, outcome)
        print(
            f"{len(found):4d}/{len(left)} {time.monotonic() - began:5.0f} s  {line(cell, outcome)}",
            flush=True,
        )
    return found


def line(cell: Cell, outcome: Outcome) -> str:
    """What became of a cell, in a line."""
    if outcome.message:
        return f"{outcome.verdict:8} {cell}: {outcome.message}"
    figure = f"{outcome.disagreements} disagree" if outcome.error is None else f"error {outcome.error:.1e}"
    law = "" if outcome.law is None else f", in law {outcome.law:.3f}"
    int8 = f", int8 {outcome.int8}" if outcome.int8 else ""
    figures = f"{outcome.states:,} states, {figure}{law}{int8}, exported in {outcome.seconds:.1f} s"
    return f"{outcome.verdict:8} {cell}: {figures}"


def _conclude(found: dict[Cell, Outcome]) -> int:
    failed = {cell: outcome for cell, outcome in found.items() if outcome.verdict != "passed"}
    for cell, outcome in failed.items():
        print(line(cell, outcome), file=sys.stderr)
    print(f"{len(found) - len(failed)} of {len(found)} cells passed")
    return 1 if failed else 0
