"""What became of a cell, and the files that keep it so that an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from tools.export_coverage.factors import Cell

ROOT = Path(__file__).parents[2]
SOURCES = ("export/steersman", "tools/export_coverage")
MOST_ERROR = 1e-5
"""Largest difference of a continuous action that passes, relative to actions beyond 1."""

Verdict = Literal["passed", "differs", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one cell.

    Attributes:
        verdict: `differs`: the graph is not the model; `refused`: export says it does not cover this;
            `failed`: something else was raised.
        message: What was raised; empty where nothing was.
        states: Rows compared, with and without masks.
        masked: Those with masks.
        disagreements: Rows in which a choice differs outside ties.
        ties: Rows in which a choice differs within a tie.
        error: Largest relative difference of a continuous action; None for choices.
        law: Largest distance of the sampled actions' distribution; None where that is not looked at.
        int8: Scheme of the 8-bit variant, `none passed`, or empty where none was asked for.
        seconds: What the export took.
    """

    verdict: Verdict
    message: str = ""
    states: int = 0
    masked: int = 0
    disagreements: int = 0
    ties: int = 0
    error: float | None = None
    law: float | None = None
    int8: str = ""
    seconds: float = 0.0


class Outcomes:
    """A folder with a file for every cell done.

    Args:
        folder: The folder; made when it is not there.
        int8: Whether 8-bit variants are made; outcomes without are no outcomes with.
        stale: Whether outcomes of other code count, too.
    """

    def __init__(self, folder: Path, *, int8: bool, stale: bool = False) -> None:
        self.folder = folder / ("int8" if int8 else "fp32")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stale = stale

    def find(self, cell: Cell) -> Outcome | None:
        """The outcome of the cell; None where it has none, or one of other code."""
        try:
            kept = json.loads(self._file(cell).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Outcome(**kept["outcome"]) if self._stale or kept["code"] == code_digest() else None

    def keep(self, cell: Cell, outcome: Outcome) -> None:
        """Writes the outcome of the cell."""
        kept = {"cell": asdict(cell), "code": code_digest(), "outcome": asdict(outcome)}
        self._file(cell).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")

    def _file(self, cell: Cell) -> Path:
        return self.folder / f"{cell.slug}.json"


@cache
def code_digest() -> str:
    """Of the exporter and of this tool, as they were when it began."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
