"""`report.html`: the evidence of an export as one page that needs nothing but a browser.

It holds no script and loads nothing: its own policy forbids that. Like the card, it says nothing of the
version, which is claimed after it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files

from steersman.bundle.manifest import Manifest
from steersman.bundle.reference import Reference
from steersman.export.report.contract_tables import (
    ELEMENT_HEAD,
    OUTPUT_HEAD,
    action_rows,
    input_rows,
    output_rows,
)
from steersman.export.report.data import ReportData
from steersman.export.report.distributions import actions_section, features_section
from steersman.export.report.evidence_sections import parity_section, returns_section, variants_section
from steersman.export.report.markup import Html, facts, joined, listing, table, tag
from steersman.export.report.plots import page_style
from steersman.export.report.provenance import digest_facts, provenance_facts
from steersman.export.report.verdict import Standing, findings, headline
from steersman.export.report.wording import (
    DISTRIBUTIONS,
    SYNTHETIC,
    mask_text,
    noise_text,
    origin,
    wrapper_text,
)

REPORT_FILE = "report.html"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser is told: load nothing, run nothing; only the page's own style."""
_MARKS: dict[Standing, str] = {"Passed": "mark good", "Note": "mark warn", "Not measured": "mark none"}


def write_report(manifest: Manifest, references: Mapping[str, Reference], data: ReportData) -> bytes:
    """The report.

    Args:
        manifest: With the digests of the files that are known; the report's own cannot be among them.
        references: By serving mode, as `reference.npz` holds them.
        data: What is in neither.

    Returns:
        HTML in UTF-8; the same for the same arguments.
    """
    sections: dict[str, Callable[[], Iterator[Html]]] = {
        "Verdict": lambda: _verdict(manifest, data),
        "Equality with SB3": lambda: parity_section(manifest, data),
        "Variants": lambda: variants_section(manifest, data),
        "Returns": lambda: returns_section(manifest),
        "What it takes and gives": lambda: _contract(manifest),
        "Reference: observations": lambda: _observed(manifest, references),
        "Reference: actions": lambda: iter([actions_section(manifest.contract, references)]),
        "Provenance": lambda: _provenance(manifest),
    }
    with page_style():
        body = joined(tag("section", tag("h2", title), *section()) for title, section in sections.items())
    title = f"Policy {manifest.policy}"
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title}: evidence of its export"),
        tag(
            "style", Html(files("steersman.export.report").joinpath("report.css").read_text(encoding="utf-8"))
        ),
    )
    header = tag("header", tag("h1", title), tag("p", f"{origin(manifest)}. {_written(manifest)}"))
    page = tag("html", tag("head", *head), tag("body", header, tag("main", body)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n".encode()


def _style() -> str:
    return files("steersman.export.report").joinpath("report.css").read_text(encoding="utf-8")


def _written(manifest: Manifest) -> str:
    return f"Evidence of its export to ONNX by Steersman, {manifest.created:%Y-%m-%d %H:%M} UTC."


def _verdict(manifest: Manifest, data: ReportData) -> Iterator[Html]:
    if manifest.reference.synthetic:
        yield tag("div", tag("strong", "Read this first. "), SYNTHETIC, class_="alert", role="note")
    if wrappers := manifest.contract.wrappers:
        todo = listing(wrapper_text(wrapper) for wrapper in wrappers)
        yield tag("div", tag("strong", "Callers must apply "), todo, class_="alert", role="note")
    yield tag("p", headline(manifest), class_="headline")
    rows = [
        (found.question, tag("span", found.standing, class_=_MARKS[found.standing]), found.basis)
        for found in findings(manifest)
    ]
    yield table(("Question", "Outcome", "Basis"), rows, caption="What was shown", class_="verdict")
    if data.notes:
        yield listing(data.notes)


def _contract(manifest: Manifest) -> Iterator[Html]:
    contract = manifest.contract
    yield table(
        ELEMENT_HEAD,
        list(input_rows(contract)),
        caption="Inputs of the graph, raw as the environment gives them",
    )
    yield table(ELEMENT_HEAD, list(action_rows(contract)), caption="Actions, as the environment takes them")
    yield table(OUTPUT_HEAD, list(output_rows(contract)), caption="Outputs of the graph")
    yield facts(
        (
            ("Modes", ", ".join(contract.modes)),
            ("Distribution", DISTRIBUTIONS[contract.distribution]),
            ("Masks", mask_text(contract)),
            ("Noise", noise_text(contract.noise)),
            ("Inside the graph", "; ".join(contract.inside) or "the networks alone"),
        )
    )


def _observed(manifest: Manifest, references: Mapping[str, Reference]) -> Iterator[Html]:
    if manifest.reference.synthetic:
        yield tag(
            "div",
            tag("strong", "Synthetic. "),
            "These are samples of the space, not of the policy's work.",
            class_="alert",
        )
    yield features_section(manifest.contract, references)


def _provenance(manifest: Manifest) -> Iterator[Html]:
    yield facts(provenance_facts(manifest))
    yield tag("h3", "SHA-256")
    yield facts((label, tag("span", digest, class_="digest")) for label, digest in digest_facts(manifest))
    yield tag("h3", "How to check this")
    yield tag(
        "p",
        "This file is named with its digest in manifest.json, which a signature in manifest.sig may cover. "
        "This re-checks all of it, and runs every variant against the recorded answers, on any machine:",
    )
    yield tag("pre", tag("code", "steersman verify BUNDLE --trusted-key KEY.public.pem"))
