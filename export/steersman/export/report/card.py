"""The model card: the manifest as a person reads it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from steersman.bundle.manifest import Manifest, Variant
from steersman.bundle.specs import BoxAction, Contract, DiscreteAction, feature_names

CARD_FILE = "card.md"
MOST_NAMES = 32


def write_card(manifest: Manifest) -> str:
    """The card in Markdown. It says nothing of the version, which is claimed after it is written."""
    parts = (
        f"# Policy `{manifest.policy}`",
        _origin(manifest),
        "## Observes and does",
        _contract(manifest.contract),
        "## Variants",
        _variants(manifest),
        "## Evidence",
        _evidence(manifest),
        "## Provenance",
        _libraries(manifest),
    )
    return "\n\n".join(parts) + "\n"


def _origin(manifest: Manifest) -> str:
    origin = manifest.provenance
    text = f"{origin.algorithm} policy"
    if origin.environment:
        text += f" for `{origin.environment.id}`"
    if origin.train_steps:
        text += f", {origin.train_steps:,} steps trained"
    if origin.mean_return is not None:
        text += f", mean evaluation return {origin.mean_return:g}"
    return f"{text}. Exported {manifest.created:%Y-%m-%d %H:%M} UTC."


def _contract(contract: Contract) -> str:
    observation = contract.observations[0]
    names = feature_names(contract)
    lines = [f"- Observation: {observation.dtype} {list(observation.shape)}{_listed(names)}"]
    action = contract.action
    if isinstance(action, DiscreteAction):
        choices = action.names or tuple(str(action.start + k) for k in range(action.n))
        lines.append(f"- Action: one of {action.n}{_listed(choices)}; an action mask is obeyed")
    elif isinstance(action, BoxAction):
        lines.append(
            f"- Action: {action.dtype} {list(action.shape)}{_listed(action.names)}, clipped to its bounds"
        )
    lines.append(f"- Inside the graph: {', '.join(contract.inside)}")
    return "\n".join(lines)


def _variants(manifest: Manifest) -> str:
    rows = [
        (name, variant.scheme, _kilobytes(variant), *_latency(variant.latency_us), _flips(variant))
        for name, variant in manifest.variants.items()
    ]
    text = _table(("Variant", "Scheme", "Size", "1 row", "32 rows", "Decisions changed"), rows)
    rejected = [
        f"- `{variant.scheme}` was left out: {variant.reason}." for variant in manifest.rejected_variants
    ]
    return "\n".join([text, "", *rejected]).rstrip()


def _evidence(manifest: Manifest) -> str:
    parity, reference = manifest.parity, manifest.reference
    lines = [
        f"- fp32 against SB3's `predict`: {parity.states:,} states, {parity.disagreements} disagreements",
        f"- Largest difference of an action {parity.max_action_error:.2g}",
        f"- Largest difference of a distribution parameter {parity.max_parameter_error:.2g}",
    ]
    if reference.synthetic:
        lines.append(
            "- **Synthetic reference:** no environment was known. Reference and evidence rest on samples of "
            "the observation space; drift against it means little."
        )
    for mode, episodes in reference.episodes.items():
        returned = reference.mean_return.get(mode)
        reached = f", mean return {returned:.1f}" if returned is not None else ""
        lines.append(f"- Reference, {mode}: {episodes} episodes, {reference.steps[mode]:,} steps{reached}")
    if not reference.features:
        lines.append(
            "- No reference per feature: the observation has too many elements. Actions are covered."
        )
    return "\n".join(lines)


def _libraries(manifest: Manifest) -> str:
    origin = manifest.provenance
    lines = [f"- SB3 file: SHA-256 `{origin.zip_sha256}`"]
    lines += [f"- Run: {origin.run}"] if origin.run else []
    for when in ("trained", "exported"):
        versions = [
            f"{name.partition('.')[2]} {version}"
            for name, version in origin.libraries.items()
            if name.startswith(f"{when}.")
        ]
        lines += [f"- {when.capitalize()} with {', '.join(versions)}"] if versions else []
    return "\n".join(lines)


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f" ({', '.join(names[:MOST_NAMES])}{more})"


def _kilobytes(variant: Variant) -> str:
    return f"{variant.size_bytes / 1000:.1f} kB"


def _latency(latency_us: dict[int, float]) -> tuple[str, str]:
    one, many = (f"{latency_us[batch]:.0f} µs" if batch in latency_us else "" for batch in (1, 32))
    return one, many


def _flips(variant: Variant) -> str:
    if variant.flips is None:
        return ""
    flips = variant.flips
    return f"{flips.flips} of {flips.states:,}, at most {flips.upper_95:.2%} (95 %)"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
