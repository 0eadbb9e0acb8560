"""How the story is told: numbered chapters, facts below them, and a live line while something takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

INDENT = "   "
Show = Callable[[str], None]
"""Told how far the work is, in a few words."""


class Teller:
    """Tells the story on a terminal, or as plain lines where there is none."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._chapter = 0

    def title(self, text: str) -> None:
        """What this is."""
        self._console.print(f"[bold]{text}[/bold]")

    def chapter(self, name: str, what: str) -> None:
        """Begins the next chapter."""
        self._chapter += 1
        self._console.print(
            f"\n[bold]{self._chapter}. {name}[/bold]  {what}", highlight=False, soft_wrap=True
        )

    def fact(self, text: str) -> None:
        """One line of what came out."""
        self._console.print(f"{INDENT}{text}", highlight=False, soft_wrap=True)

    def facts(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A small table of what came out."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in columns:
            table.add_column(column, justify="left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        with self._console.capture() as captured:
            self._console.print(table, highlight=False)
        for line in captured.get().splitlines():
            self._console.print(f"{INDENT}{line.rstrip()}", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[Show]:
        """While something takes long: a spinner with a line that changes; nothing where nobody watches."""
        if not self._console.is_terminal:
            yield lambda _: None
            return
        with self._console.status(f"{what}…") as status:
            yield lambda text: status.update(f"{what}: {text}")
