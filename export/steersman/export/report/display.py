"""What the commands print: tables on a terminal, plain lines in pipes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from steersman.bundle.bundle import Bundle
from steersman.bundle.manifest import Flips, Manifest
from steersman.bundle.specs import BoxAction, Contract, DiscreteAction, ObservationSpec
from steersman.export.verify import Verification

Listener = Callable[[str, float], None]
LINE_EVERY_SECONDS = 5.0


@contextmanager
def open_progress(*, quiet: bool) -> Iterator[Listener | None]:
    """Shows progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""
    console = Console(stderr=True)
    if quiet:
        yield None
    elif console.is_terminal:
        columns = (BarColumn(bar_width=24), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=1.0)
            yield lambda what, share: bar.update(task, description=what, completed=share)
    else:
        yield _Lines(console)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._due = time.monotonic() + LINE_EVERY_SECONDS

    def __call__(self, what: str, share: float) -> None:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + LINE_EVERY_SECONDS
            self._console.print(f"{share:4.0%} {what}", highlight=False)


def print_export(bundle: Bundle, seconds: float, notes: tuple[str, ...]) -> None:
    """The summary of an export."""
    console = _console()
    manifest = bundle.manifest
    console.print(f"[bold]{manifest.policy}[/] version {manifest.version}: {_origin(manifest)}")
    console.print(_variants_table(manifest))
    _print_rejected(console, manifest)
    console.print(_parity_line(manifest))
    console.print(_reference_line(manifest))
    for note in notes:
        console.print(f"[yellow]Note:[/] {escape(note)}")
    console.print(f"Written in {seconds:.0f} s to [bold]{escape(str(bundle.path))}[/]")


def print_verification(verification: Verification) -> None:
    """What was checked and how it came out."""
    console = _console()
    bundle = verification.bundle
    console.print(f"{len(bundle.manifest.files)} files are as the manifest says.")
    table = Table("Variant", "Rows", "Largest difference", "Decisions changed", "Certificate", box=None)
    for name, result in verification.results.items():
        verdict = "[green]passed[/]" if result.passed else "[red]failed[/]"
        table.add_row(name, str(result.rows), f"{result.max_error:.2g}", str(result.flips), verdict)
    console.print(table)
    for name, result in verification.results.items():
        for failure in result.failures:
            console.print(f"{name}: {escape(failure)}")


def print_contract(bundle: Bundle) -> None:
    """What the policy takes and gives."""
    console = _console()
    manifest = bundle.manifest
    contract = manifest.contract
    console.print(f"[bold]{manifest.policy}[/] version {manifest.version}: {_origin(manifest)}")
    table = Table("Tensor", "Type", "Shape", "Element", "Lowest", "Highest", box=None)
    for spec in contract.observations:
        _add_elements(table, spec.input_name, spec, spec.feature_names)
    _add_action(table, contract)
    console.print(table)
    console.print(f"Modes: {', '.join(contract.modes)}. Outputs: {', '.join(contract.outputs)}.")
    console.print(f"Inside the graph: {', '.join(contract.inside)}.")
    console.print(_variants_table(manifest))
    _print_rejected(console, manifest)
    console.print(_parity_line(manifest))
    console.print(_reference_line(manifest))
    console.print(f"Contract {manifest.contract_digest[:12]}, bundle {bundle.digest[:12]}.")


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _origin(manifest: Manifest) -> str:
    origin = manifest.provenance
    parts = [f"{origin.algorithm} on {origin.environment.id}" if origin.environment else origin.algorithm]
    if origin.train_steps:
        parts.append(f"{origin.train_steps:,} steps")
    if origin.mean_return is not None:
        parts.append(f"mean return {origin.mean_return:.1f}")
    return ", ".join(parts)


def _variants_table(manifest: Manifest) -> Table:
    table = Table("Variant", "Scheme", "Size", "1 row", "32 rows", "Decisions changed", box=None)
    for name, variant in manifest.variants.items():
        one, many = (f"{variant.latency_us[n]:.0f} µs" if n in variant.latency_us else "" for n in (1, 32))
        size = f"{variant.size_bytes / 1000:.1f} kB"
        table.add_row(name, variant.scheme, size, one, many, _flips(variant.flips))
    return table


def _flips(flips: Flips | None) -> str:
    """With the upper end of the 95 % interval of the rate."""
    return f"{flips.flips} of {flips.states:,} (≤ {flips.upper_95:.2%})" if flips else ""


def _print_rejected(console: Console, manifest: Manifest) -> None:
    for rejected in manifest.rejected_variants:
        console.print(f"  Left out {rejected.scheme}: {escape(rejected.reason)}")


def _parity_line(manifest: Manifest) -> str:
    parity = manifest.parity
    text = f"fp32 against SB3: {parity.states:,} states, {parity.disagreements} disagreements"
    if parity.max_action_error:
        text += f", largest difference of an action {parity.max_action_error:.2g}"
    return text


def _reference_line(manifest: Manifest) -> str:
    reference = manifest.reference
    if reference.synthetic:
        return "Reference: synthetic, for no environment was known; name one with --env"
    parts = []
    for mode, episodes in reference.episodes.items():
        returned = reference.mean_return.get(mode)
        reached = f", mean return {returned:.1f}" if returned is not None else ""
        parts.append(f"{mode} {episodes} episodes of {reference.steps[mode]:,} steps{reached}")
    return f"Reference: {'; '.join(parts)}"


def _add_elements(
    table: Table, tensor: str, spec: ObservationSpec | BoxAction, names: tuple[str, ...]
) -> None:
    shape, size = str(list(spec.shape)), spec.size
    lowest, highest = (b * size if len(b) == 1 else b for b in (spec.low, spec.high))
    for i in range(min(size, 16)):
        head = (tensor, spec.dtype, shape) if i == 0 else ("", "", "")
        table.add_row(*head, names[i] if names else str(i), f"{lowest[i]:.4g}", f"{highest[i]:.4g}")
    if size > 16:
        table.add_row("", "", "", f"and {size - 16} more", "", "")


def _add_action(table: Table, contract: Contract) -> None:
    action = contract.action
    if isinstance(action, BoxAction):
        _add_elements(table, "action", action, action.names)
    elif isinstance(action, DiscreteAction):
        for k in range(min(action.n, 16)):
            head = ("action", action.dtype, "one of") if k == 0 else ("", "", "")
            name = action.names[k] if action.names else ""
            table.add_row(*head, f"{action.start + k} {name}".strip(), "", "")
