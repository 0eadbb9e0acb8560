"""HTML that nobody can forget to escape: text becomes markup only through `tag`, which escapes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from steersman.export.report.wording import printable

VOID = frozenset({"meta", "br"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *content: str | Html, **attributes: str) -> Html:
    """An element. Attributes are escaped, and content that is not `Html`; `class_` stands for `class`."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(printable(value))}"'
        for key, value in attributes.items()
    )
    if name in VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{joined(content)}</{name}>")


def joined(content: Iterable[str | Html]) -> Html:
    """Pieces one after the other, plain text escaped."""
    return Html("".join(piece if isinstance(piece, Html) else escape(printable(piece)) for piece in content))


def table(
    head: Sequence[str], rows: Iterable[Sequence[str | Html]], *, caption: str, class_: str = ""
) -> Html:
    """A real table: a caption, a head, and the first cell of each row as its heading.

    Columns in which no row has anything are left out.
    """
    rows = list(rows)
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    head, rows = [head[i] for i in kept], [[row[i] for i in kept] for row in rows]
    heading = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = (tag("tr", _heading(row[0]), *(tag("td", cell) for cell in row[1:])) for row in rows)
    attributes = {"class_": class_} if class_ else {}
    return tag(
        "div",
        tag("table", tag("caption", caption), tag("thead", heading), tag("tbody", *body), **attributes),
        class_="scroll",
    )


def _heading(cell: str | Html) -> Html:
    """A row that goes on with what the row above it began has no heading of its own."""
    return tag("th", cell, scope="row") if cell else tag("td")


def facts(pairs: Iterable[tuple[str, str | Html]]) -> Html:
    """Labels with their texts."""
    return tag("dl", *(tag("div", tag("dt", label), tag("dd", text)) for label, text in pairs))


def listing(items: Iterable[str | Html]) -> Html:
    """A list of sentences."""
    return tag("ul", *(tag("li", item) for item in items))
