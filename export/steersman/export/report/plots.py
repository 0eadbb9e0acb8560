"""Drawing for a page: matplotlib figures as inline SVG that takes its colours from the page.

The same figure is always the same bytes. Nothing in it is loaded from elsewhere, and no style of it reaches
the rest of the page. Words are text, not outlines; names that users chose are never drawn but stand in the
page's own text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from steersman.export.report.markup import Html

INK, LINE, ONE, TWO, BAD = "#010203", "#020304", "#030405", "#040506", "#050607"
"""Stand-ins for the page's colours: text, thin lines, first and second series, what did not pass."""
_COLOURS = {
    INK: "currentColor",
    LINE: "var(--line)",
    ONE: "var(--one)",
    TWO: "var(--two)",
    BAD: "var(--bad)",
}
_STYLE: Any = {  # the settings by name; matplotlib types each of them
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 12,
    "axes.linewidth": 1.0,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 72,
    "figure.facecolor": "none",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 12,
    "path.simplify": True,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.color": LINE,
    "ytick.labelcolor": INK,
}
_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


@contextmanager
def page_style() -> Iterator[None]:
    """Draws as the page looks, whatever the user's own matplotlib settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        with mpl.rc_context(_STYLE):
            yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in pixels of the page."""
    figure = Figure(figsize=(width / 72, height / 72))
    FigureCanvasSVG(figure)
    return figure


def place(figure: Figure, left: float, bottom: float, right: float = 8, top: float = 8) -> Axes:
    """Axes that leave these margins, in pixels of the page."""
    width, height = figure.get_size_inches() * 72
    return figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )


def inline_svg(figure: Figure, name: str, description: str) -> Html:
    """The figure as markup.

    Args:
        figure: What was drawn.
        name: Unique within the page: it keeps the figure's ids apart from others'.
        description: What there is to see, for those who cannot.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=_METADATA)
    text = buffer.getvalue()
    width, height = (f"{size * 72:g}" for size in figure.get_size_inches())
    body = text[text.index(">", text.index("<svg")) + 1 :]
    for pattern, replacement in (
        (r"<metadata>.*?</metadata>", ""),
        (r"<style\b.*?</style>", ""),  # it would apply to the whole page
        (r"\n\s*", " "),
    ):
        body = re.sub(pattern, replacement, body, flags=re.DOTALL)
    for stand_in, colour in _COLOURS.items():
        body = body.replace(stand_in, colour)
    body = body.replace("'DejaVu Sans'", "system-ui")
    head = f'<svg role="img" viewBox="0 0 {width} {height}" style="max-width:{width}px"'
    label = escape(description)
    return Html(f'{head} aria-label="{label}"><title>{label}</title>{_without_idle_ids(body.strip())}')


def tick_at(axes: Axes, exponents: Sequence[int], *, zero: float | None = None) -> None:
    """Labels a horizontal axis that holds decimal logarithms; `zero` is where values of 0 are drawn."""
    places = [*([zero] if zero is not None else []), *exponents]
    labels = [*(["0"] if zero is not None else []), *(f"1e{exponent}" for exponent in exponents)]
    axes.set_xticks(places, labels)


def _without_idle_ids(body: str) -> str:
    """Ids that nothing refers to are the same in every figure, and so no ids at all."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", body)
