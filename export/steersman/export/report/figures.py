"""The figures of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from steersman.bundle.manifest import Returns
from steersman.export.report.markup import Html
from steersman.export.report.plots import BAD, INK, LINE, ONE, TWO, inline_svg, new_figure, place, tick_at
from steersman.export.report.variants import LEFT_OUT, Form
from steersman.export.report.wording import difference_text, flips_text, number, returns_text

Floats = NDArray[np.float64]
WIDE, LABELS, ROW = 900, 220, 32
"""Width of a figure that spans the page, the room for labels at its left, and the height of each row."""
LEAST_RATE = 1e-5
"""Rates of changed decisions below this are drawn as 0."""
_SAME = 1e-9
"""Relative difference below which the first and the last edge are of one value."""
THINNEST = 1 / 60
"""Share of a histogram's width that a single value takes."""


def differences_figure(name: str, differences: NDArray[Any], allowed: float | None) -> Html:
    """How far an output is from SB3's: share of states by decimal logarithm of the difference."""
    found = np.abs(np.asarray(differences, np.float64))
    found = found[np.isfinite(found)]
    logs = np.log10(found[found > 0])
    limits = [math.log10(allowed)] if allowed else []
    limits += [float(logs.min()), float(logs.max())] if logs.size else [-8.0, -7.0]
    first, last = math.floor(min(limits)), math.ceil(max(limits))
    figure = new_figure(440, 170)
    axes = place(figure, left=52, bottom=30)
    edges = np.linspace(first, last, 4 * max(1, last - first) + 1)
    shares = np.histogram(logs, edges)[0] / max(1, len(found))
    axes.stairs(100 * shares, edges, fill=True, color=ONE)
    zero = 100 * float((found == 0).mean()) if found.size else 0.0
    axes.bar(first - 0.75, zero, width=0.5, color=TWO)
    if allowed:
        axes.axvline(math.log10(allowed), color=BAD, linestyle="--", linewidth=1.5)
    exponents = range(first, last + 1, max(1, (last - first) // 5))
    tick_at(axes, tuple(exponents), zero=first - 0.75)
    axes.set_ylabel("% of states")
    largest = number(float(found.max(initial=0.0)))
    described = (
        f"Histogram of the differences of {name}: {zero:.0f} % are exactly 0, the largest is {largest}"
    )
    described += f", {number(allowed)} is allowed." if allowed else "."
    return inline_svg(figure, f"differences-{name}", described)


def flips_figure(forms: Sequence[Form], most: float) -> Html:
    """Rate of changed decisions of each form, up to its upper bound, beside the gate."""
    rows = [(form, flips) for form in forms if (flips := form.figures.flips) is not None]
    figure = new_figure(WIDE, ROW * len(rows) + 52)
    axes = _rows(place(figure, left=LABELS, bottom=34, right=30), [form.label for form, _ in rows])
    zero = math.log10(LEAST_RATE) - 0.5
    for row, (form, flips) in enumerate(rows):
        rate = flips.flips / max(1, flips.states)
        ends = [_log_rate(rate, zero), _log_rate(flips.upper_95, zero)]
        axes.plot(ends, [row, row], color=_colour(form), linewidth=3, solid_capstyle="butt")
        axes.plot(ends[0], row, "o", color=_colour(form))
    axes.axvline(math.log10(most), color=BAD, linestyle="--", linewidth=1.5)
    axes.set_xlim(zero - 0.2, 0.0)
    axes.set_xticks(
        [zero, -5, -4, -3, -2, -1, 0], ["0", "0.001 %", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"]
    )
    told = "; ".join(f"{form.label}: {flips_text(flips)}" for form, flips in rows)
    return inline_svg(figure, "flips", f"Changed decisions. {told}. The gate is {most:.2%}.")


def returns_figure(torch: Returns | None, forms: Sequence[Form]) -> Html:
    """Mean return of SB3's own policy and of each form, with 95 % intervals."""
    rows = [("SB3 (torch)", INK, torch)] if torch else []
    rows += [(form.label, _colour(form), form.figures.returns) for form in forms if form.figures.returns]
    figure = new_figure(WIDE, ROW * len(rows) + 52)
    axes = _rows(place(figure, left=LABELS, bottom=42), [label for label, _, _ in rows])
    told = []
    for row, (label, colour, found) in enumerate(rows):
        if found is None:
            continue
        axes.plot([found.low_95, found.high_95], [row, row], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(found.mean, row, "o", color=colour)
        difference = difference_text(found)
        told.append(f"{label}: {returns_text(found)}{f', from fp32 {difference}' if difference else ''}")
    axes.set_xlabel("return of an episode: mean and 95 % interval")
    return inline_svg(figure, "returns", f"Returns. {'; '.join(told)}.")


def costs_figure(forms: Sequence[Form]) -> Html:
    """Size and latency of each form, side by side."""
    panels = (
        ("kB", [(form.figures.size_bytes or 0) / 1e3 for form in forms]),
        ("µs for 1 row", [form.figures.latency_us.get(1, 0.0) for form in forms]),
        ("µs for 32 rows", [form.figures.latency_us.get(32, 0.0) for form in forms]),
    )
    figure = new_figure(WIDE, ROW * len(forms) + 52)
    width = (WIDE - LABELS) / len(panels)
    for i, (label, values) in enumerate(panels):
        left = LABELS + i * width
        axes = place(figure, left=left, bottom=42, right=WIDE - left - width + 22)
        _rows(axes, [form.label for form in forms] if i == 0 else [""] * len(forms))
        axes.barh(range(len(forms)), values, height=0.55, color=[_colour(form) for form in forms])
        axes.set_xlabel(label)
        axes.locator_params(axis="x", nbins=4)
    return inline_svg(figure, "costs", "Size and median latency of each variant; the table has the figures.")


def histogram_figure(name: str, edges: Sequence[Floats], shares: Sequence[Floats], what: str) -> Html:
    """Density over the reference's own bins, the first mode filled and the second as a line, without axes.

    Args:
        name: Unique name of the figure.
        edges: For each mode, [K + 1].
        shares: For each mode, [K] share of the steps in each bin.
        what: What is shown, for those who cannot see it.
    """
    figure = new_figure(220, 80)
    axes = place(figure, left=0, bottom=2, right=0, top=2)
    for mode, (found, share) in enumerate(zip(edges, shares, strict=True)):
        at, height = _density(found, share)
        if mode == 0:
            axes.stairs(height, at, fill=True, color=ONE)
        else:
            axes.stairs(height, at, color=TWO, linewidth=1.5)
    axes.set_xlim(*_limits(edges))
    axes.axhline(0.0, color=LINE, linewidth=2)
    axes.set_axis_off()
    return inline_svg(figure, name, what)


def _limits(edges: Sequence[Floats]) -> tuple[float, float]:
    low = min(float(found[0]) for found in edges)
    high = max(float(found[-1]) for found in edges)
    margin = 0.02 * (high - low) if high - low > _SAME * max(1.0, abs(low)) else _span(edges[0]) / 2
    return low - margin, high + margin


def _density(edges: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """Edges and heights to draw.

    Quantile edges repeat, or nearly touch, where many steps share a value: the bin that starts there is drawn
    as a narrow bar, for its steps are no spread over the way to the next edge.
    """
    thin = THINNEST * _span(edges)
    at: list[float] = [float(edges[0])]
    heights: list[float] = []
    for k, share in enumerate(shares):
        low, high = float(edges[k]), float(edges[k + 1])
        if high == low:
            continue
        single = high - at[-1] < thin or (k > 0 and edges[k - 1] == low)
        end = at[-1] + thin if single else high
        heights.append(float(share) / (end - at[-1]))
        at.append(end)
        if high > end:
            heights.append(0.0)
            at.append(high)
    return np.array(at), np.array(heights)


def _span(edges: Floats) -> float:
    """Width from the first edge to the last; of a constant, that of its own size."""
    span, size = float(edges[-1] - edges[0]), max(1.0, abs(float(edges[0])))
    return span if span > _SAME * size else size


def _rows(axes: Axes, labels: Sequence[str]) -> Axes:
    """One row for each label, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    return axes


def _colour(form: Form) -> str:
    return TWO if form.name == LEFT_OUT else ONE


def _log_rate(rate: float, zero: float) -> float:
    return math.log10(rate) if rate >= LEAST_RATE else zero
