"""The sections of the report that show evidence: equality with SB3, the variants, the returns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from steersman.bundle.manifest import Manifest
from steersman.export.report.data import ReportData
from steersman.export.report.figures import costs_figure, differences_figure, flips_figure, returns_figure
from steersman.export.report.markup import Html, facts, table, tag
from steersman.export.report.variants import LEFT_OUT, all_forms, table_of
from steersman.export.report.wording import difference_text, parity_text, returns_text

_COLOURS = "Blue: shipped. Orange: left out."


def parity_section(manifest: Manifest, data: ReportData) -> Iterator[Html]:
    """How far the fp32 graph is from SB3, output by output."""
    yield tag(
        "p", f"The fp32 graph against SB3's own predict and distributions: {parity_text(manifest.parity)}."
    )
    if not data.differences:
        return
    explained = (
        "Largest absolute difference of each output in each state. Dashed: the largest allowed, absolute or "
        "relative, whichever is larger. At the left: states without any difference."
    )
    drawn = (
        tag("figure", tag("figcaption", name), differences_figure(name, found, data.allowed.get(name)))
        for name, found in data.differences.items()
    )
    yield tag("p", explained, class_="quiet")
    yield tag("div", *drawn, class_="grid wide")
    rows = [
        (
            name,
            f"{len(found):,}",
            *(
                f"{np.quantile(found, q, method='higher'):.2g}" if len(found) else ""
                for q in (0.5, 0.99, 1.0)
            ),
            f"{data.allowed[name]:.2g}" if name in data.allowed else "",
        )
        for name, found in data.differences.items()
    ]
    yield table(
        ("Output", "States", "Median", "99 %", "Largest", "Allowed"), rows, caption="Differences from SB3"
    )


def variants_section(manifest: Manifest, data: ReportData) -> Iterator[Html]:
    """What quantization changed, and what each variant costs."""
    forms = all_forms(manifest)
    head, *rows = table_of(forms)
    columns = [i for i, name in enumerate(head) if not name.startswith("Return")]
    yield table(
        [head[i] for i in columns],
        [[row[i] for i in columns] for row in rows],
        caption="Variants that are shipped, and those that were left out",
    )
    if manifest.rejected_variants:
        yield tag("h3", "Why variants were left out")
        yield facts((rejected.scheme, rejected.reason) for rejected in manifest.rejected_variants)
    if any(form.figures.flips for form in forms):
        told = "Dot: rate of changed greedy decisions. Line: up to its 95 % upper bound. Dashed: the gate, "
        yield _figure(
            "Decisions that differ from fp32",
            flips_figure(forms, data.most_flips),
            f"{told}{data.most_flips:.2%} for the bound. States where fp32's best two tie are left out.",
        )
    if any(form.figures.latency_us for form in forms):
        host = f" Measured on {data.host}." if data.host else ""
        yield _figure(
            "Size and latency", costs_figure(forms), f"Median of one run of the graph.{host} {_COLOURS}"
        )


def returns_section(manifest: Manifest) -> Iterator[Html]:
    """What SB3's own policy and each variant reached in the same episodes."""
    forms = [form for form in all_forms(manifest) if form.figures.returns]
    torch = manifest.parity.returns
    if not forms:
        yield tag("p", "Not measured: no environment to play episodes in was known.", class_="quiet")
        return
    episodes = max(form.figures.returns.episodes for form in forms if form.figures.returns)
    yield _figure(
        "Return of SB3's own policy and of each variant",
        returns_figure(torch, forms),
        f"{episodes:,} episodes with the same seeds for each, played greedily. {_COLOURS}",
    )
    rows = [("SB3 (torch)", "", returns_text(torch), "")] if torch else []
    rows += [
        (
            form.label,
            form.name if form.name == LEFT_OUT else "shipped",
            returns_text(form.figures.returns),
            difference_text(form.figures.returns),
        )
        for form in forms
    ]
    yield table(
        ("Form", "", "Mean return (95 % interval)", "Paired difference from fp32 (95 % interval)"),
        rows,
        caption="Undiscounted returns",
    )


def _figure(title: str, drawing: Html, caption: str) -> Html:
    return tag("figure", tag("h3", title), drawing, tag("figcaption", caption))
