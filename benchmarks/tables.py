"""A table, for a terminal or for a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text. The first column is left-aligned, the others are figures.

    Attributes:
        title: What it shows.
        columns: Heads.
        rows: Cells, one per column.
        note: How to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def print_table(table: Table, console: Console) -> None:
    """Prints it for people."""
    shown = RichTable(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for i, head in enumerate(table.columns):
        shown.add_column(head, justify="right" if i else "left")
    for row in table.rows:
        shown.add_row(*map(escape, row))
    console.print(shown)
    if table.note:
        console.print(escape(table.note), style="dim", highlight=False)
        console.print()


def markdown(table: Table) -> str:
    """The table in Markdown, under a heading."""
    rule = ("---", *("--:",) * (len(table.columns) - 1))
    lines = [_line(cells) for cells in (table.columns, rule, *table.rows)]
    note = f"\n\n{table.note}" if table.note else ""
    return f"### {table.title}\n\n" + "\n".join(lines) + note + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def number(value: float) -> str:
    """Three digits that mean something: 1234, 56.7, 0.0891."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
