"""The reference distributions: histograms of features and actions, and all of them in tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.reference import BINS, Reference
from steersman.bundle.specs import BoxAction, Contract
from steersman.export.report.figures import histogram_figure
from steersman.export.report.markup import Html, joined, table, tag
from steersman.export.report.wording import count, number
from steersman.monitoring.columns import action_dimensions, watched_features

MOST_PANELS = 24
"""Histograms drawn for features, and for action dimensions; the table has all of them."""
MOST_CHOICES = 64
"""Choices of an action dimension that get a row each."""
OVERFLOW, NAN = BINS + 1, BINS + 2

References = Mapping[str, Reference]


@dataclass(frozen=True, slots=True)
class _Column:
    """A feature or continuous action dimension in each mode: edges [BINS + 1] and counts [CELLS]."""

    name: str
    unit: str
    edges: Sequence[NDArray[np.float64]]
    counts: Sequence[NDArray[np.int64]]


def features_section(contract: Contract, references: References) -> Html:
    """What the policy observed, feature by feature."""
    units = [unit for spec in contract.observations for unit in spec.units or ("",) * spec.size]
    columns = [
        _Column(
            name,
            units[i],
            [r.feature_edges[i] for r in references.values()],
            [r.feature_counts[i] for r in references.values()],
        )
        for i, name in enumerate(watched_features(contract))
        if all(i < len(r.feature_edges) for r in references.values())
    ]
    if not (columns and references):
        return tag("p", "The observation has too many elements for a distribution of each.", class_="quiet")
    return _continuous(columns, references, "feature")


def actions_section(contract: Contract, references: References) -> Html:
    """What the policy did."""
    if not references:
        return tag("p", "There is no reference of actions.", class_="quiet")
    dimensions = action_dimensions(contract)
    if not isinstance(contract.action, BoxAction):
        shown = list(enumerate(dimensions[:MOST_PANELS]))
        more = len(dimensions) - len(shown)
        rest = [tag("p", f"{more:,} more dimensions are in reference.npz.", class_="quiet")] if more else []
        return joined([*(_choices(i, name, labels, references) for i, (name, labels) in shown), *rest])
    columns = [
        _Column(
            name,
            "",
            [r.action_edges[i] for r in references.values()],
            [r.action_counts[i] for r in references.values()],
        )
        for i, (name, _) in enumerate(dimensions)
    ]
    return _continuous(columns, references, "action")


def _continuous(columns: Sequence[_Column], references: References, what: str) -> Html:
    drawn = [c for c in columns if all(np.isfinite(edges).all() for edges in c.edges)][:MOST_PANELS]
    caption = "The outermost 2 % at either side are not drawn."
    if len(drawn) < len(columns):
        caption += f" {len(drawn)} of {count(len(columns), what)} are drawn; the table has all."
    return joined(
        (
            tag("p", *_legend(references), class_="quiet"),
            tag("p", caption, class_="quiet"),
            tag("div", *(_panel(c, f"{what}-{i}") for i, c in enumerate(drawn)), class_="grid"),
            _quantiles(columns, next(iter(references)), what),
        )
    )


def _panel(column: _Column, name: str) -> Html:
    shares = [counts[1:OVERFLOW] / max(1, counts.sum()) for counts in column.counts]
    low = number(min(float(edges[0]) for edges in column.edges))
    high = number(max(float(edges[-1]) for edges in column.edges))
    title = f"{column.name} [{column.unit}]" if column.unit else column.name
    drawing = histogram_figure(name, column.edges, shares, f"Histogram from {low} to {high}")
    ends = [low] if low == high else [low, high]
    return tag("figure", tag("figcaption", title), drawing, tag("p", *(tag("span", end) for end in ends)))


def _quantiles(columns: Sequence[_Column], mode: str, what: str) -> Html:
    head = (what.capitalize(), "Unit", "2 %", "Median", "98 %", "Not a number")
    rows = [
        (
            column.name,
            column.unit,
            *(number(float(column.edges[0][k])) for k in (0, BINS // 2, BINS)),
            _percent(column.counts[0][NAN], column.counts[0].sum()),
        )
        for column in columns
    ]
    return table(head, rows, caption=f"Quantiles, {mode}")


def _choices(i: int, name: str, labels: Sequence[str], references: References) -> Html:
    shares = {
        mode: reference.action_counts[i] / max(1, reference.action_counts[i].sum())
        for mode, reference in references.items()
    }
    rows = [
        (label, *(_bar(float(share[k]), place) for place, share in enumerate(shares.values())))
        for k, label in enumerate(labels[:MOST_CHOICES])
    ]
    more = len(labels) - MOST_CHOICES
    if more > 0:
        rest = (f"{share[MOST_CHOICES:].sum():.1%}" for share in shares.values())
        rows.append((f"{more:,} more choices", *map(Html, rest)))
    return table(("Choice", *shares), rows, caption=f"Share of the steps with each choice of {name}")


def _bar(share: float, place: int) -> Html:
    class_ = "bar" if place == 0 else "bar two"
    return joined((tag("span", class_=class_, style=f"width:{100 * share:.1f}px"), f"{share:.1%}"))


def _legend(references: References) -> Iterator[Html]:
    for mode, class_ in zip(references, ("key one", "key two"), strict=False):
        yield joined((tag("span", class_=class_), mode))


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if part else ""
