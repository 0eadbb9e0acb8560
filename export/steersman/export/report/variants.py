"""The variants side by side, those that are shipped and those that were left out, as table cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.bundle.manifest import Manifest, RejectedVariant, Variant
from steersman.export.report.wording import (
    difference_text,
    flips_text,
    latency_text,
    number,
    printable,
    returns_text,
    size_text,
)

LEFT_OUT = "left out"
COLUMNS: tuple[str, ...] = (
    "Variant",
    "Scheme",
    "Size",
    "1 row",
    "32 rows",
    "Decisions changed",
    "Total variation",
    "Largest error",
    "Return",
    "Return, from fp32",
)
SHORT = COLUMNS[:6]
"""The columns that a summary has room for."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the policy: its name (`fp32`, `int8` or `left out`) and what was found out about it."""

    name: str
    figures: Variant | RejectedVariant

    @property
    def label(self) -> str:
        """Its scheme, and the variant that it is shipped as."""
        scheme = printable(self.figures.scheme)
        return scheme if self.name == LEFT_OUT else f"{self.name} ({scheme})"


def all_forms(manifest: Manifest) -> tuple[Form, ...]:
    """fp32 first, then what else is shipped, then what was left out."""
    shipped = [Form(name, variant) for name, variant in manifest.variants.items()]
    return (*shipped, *(Form(LEFT_OUT, rejected) for rejected in manifest.rejected_variants))


def table_of(forms: Sequence[Form], columns: Sequence[str] = COLUMNS) -> list[tuple[str, ...]]:
    """Head and rows; a column that nobody has a figure for is left out."""
    rows: list[dict[str, str]] = [dict(zip(COLUMNS, _cells(form), strict=True)) for form in forms]
    kept = [column for column in columns if any(row[column] for row in rows)]
    return [tuple(kept), *(tuple(row[column] for column in kept) for row in rows)]


def _cells(form: Form) -> tuple[str, ...]:
    figures = form.figures
    return (
        form.name,
        printable(figures.scheme),
        size_text(figures.size_bytes),
        latency_text(figures.latency_us, 1),
        latency_text(figures.latency_us, 32),
        flips_text(figures.flips),
        "" if figures.mean_total_variation is None else number(figures.mean_total_variation),
        "" if figures.max_error is None else number(figures.max_error),
        returns_text(figures.returns),
        difference_text(figures.returns),
    )
