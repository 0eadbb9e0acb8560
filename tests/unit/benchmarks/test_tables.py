import io

import pytest
from benchmarks.tables import Table, markdown, number, print_table
from rich.console import Console

TABLE = Table("Servers", ("load", "calls/s"), [("c1", "1987"), ("a|b", "[dim]")], note="Medians [low].")


def test_markdown_can_be_pasted() -> None:
    rows = "| load | calls/s |\n| --- | --: |\n| c1 | 1987 |\n| a\\|b | [dim] |"
    assert markdown(TABLE) == f"### Servers\n\n{rows}\n\nMedians [low].\n"


def test_the_terminal_shows_the_same_cells() -> None:
    text = io.StringIO()
    print_table(TABLE, Console(file=text, width=80))
    assert all(
        word in text.getvalue() for word in ("Servers", "calls/s", "1987", "a|b", "[dim]", "Medians [low].")
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.4, "1234"), (99.96, "100.0"), (56.78, "56.8"), (1.234, "1.23"), (0.08912, "0.0891"), (0.0, "0")],
)
def test_numbers_have_as_many_digits_as_mean_something(value: float, text: str) -> None:
    assert number(value) == text
