"""The model card: the manifest as a person reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from steersman.bundle.manifest import Manifest
from steersman.bundle.specs import Contract
from steersman.export.report.provenance import digest_facts, provenance_facts
from steersman.export.report.variants import all_forms, table_of
from steersman.export.report.wording import (
    DISTRIBUTIONS,
    SYNTHETIC,
    action_text,
    element_names,
    listed,
    mask_text,
    noise_text,
    observation_text,
    origin,
    parity_text,
    printable,
    reference_lines,
    reference_source,
    returns_text,
    wrapper_text,
)

CARD_FILE = "card.md"


def write_card(manifest: Manifest) -> str:
    """The card in Markdown. It says nothing of the version, which is claimed after it is written."""
    sections: dict[str, Iterable[str]] = {
        "Observes and does": map(_item, _contract(manifest.contract)),
        "Before you call it": map(_item, map(wrapper_text, manifest.contract.wrappers)),
        "Variants": _variants(manifest),
        "Evidence": map(_item, _evidence(manifest)),
        "Provenance": (f"- {label}: {_text(text)}" for label, text in provenance_facts(manifest)),
        "SHA-256": (f"- {_text(label)}: `{digest}`" for label, digest in digest_facts(manifest)),
    }
    parts = [f"# Policy `{manifest.policy}`", f"{_text(origin(manifest))}."]
    if manifest.reference.synthetic:
        parts.append(f"> **{SYNTHETIC}**")
    for title, lines in sections.items():
        if text := "\n".join(lines):
            parts += [f"## {title}", text]
    return "\n\n".join(parts) + "\n"


def _contract(contract: Contract) -> Iterator[str]:
    for spec in contract.observations:
        names = f": {listed(spec.feature_names)}" if spec.feature_names else ""
        yield f"Observes {printable(spec.input_name)}: {observation_text(spec)}{names}"
    action = contract.action
    names = f": {listed(element_names(action))}" if action.names else ""
    yield f"Does: {action_text(action)}{names}"
    yield mask_text(contract)
    yield f"Distribution: {DISTRIBUTIONS[contract.distribution]}. {noise_text(contract.noise)}"
    if contract.state:
        state = ", ".join(f"{printable(s.name)} {list(s.shape)}" for s in contract.state)
        yield f"Recurrent: {state} carried from step to step, zero at the start of an episode"
    if contract.inside:
        yield f"Inside the graph: {listed(contract.inside)}"


def _variants(manifest: Manifest) -> Iterator[str]:
    head, *rows = table_of(all_forms(manifest))
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(map(_cell, cells))} |"
    for rejected in manifest.rejected_variants:
        yield f"\n`{printable(rejected.scheme)}` was left out: {_text(printable(rejected.reason))}."


def _evidence(manifest: Manifest) -> Iterator[str]:
    parity, reference = manifest.parity, manifest.reference
    yield f"fp32 against SB3's `predict`: {parity_text(parity)}"
    yield f"Largest difference of a distribution parameter: {parity.max_parameter_error:.2g}"
    if parity.returns:
        yield f"Return of SB3's own policy: {returns_text(parity.returns)}"
    yield f"Reference: {'; '.join((reference_source(manifest), *reference_lines(manifest)))}"
    if not reference.features:
        yield "No reference per feature: the observation has too many elements. Actions are covered."


def _item(text: str) -> str:
    return f"- {_text(text)}"


def _text(text: str) -> str:
    """Keeps names from being read as HTML; other marks of Markdown do no harm in them."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")
