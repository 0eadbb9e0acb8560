"""What the commands print: tables on a terminal, plain lines in pipes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from steersman.bundle.bundle import Bundle
from steersman.bundle.manifest import Manifest
from steersman.bundle.signature import SignatureCheck
from steersman.export.report.contract_tables import (
    ELEMENT_HEAD,
    OUTPUT_HEAD,
    action_rows,
    input_rows,
    output_rows,
)
from steersman.export.report.provenance import digest_facts, provenance_facts
from steersman.export.report.variants import SHORT, Form, all_forms, table_of
from steersman.export.report.wording import (
    mask_text,
    noise_text,
    origin,
    parity_text,
    printable,
    reference_lines,
    reference_source,
    returns_text,
    wrapper_text,
)
from steersman.export.verify import Verification

Listener = Callable[[str, float], None]
LINE_EVERY_SECONDS = 5.0
PIPE_WIDTH = 200
"""Columns of what is not printed on a terminal: no cell of a table is folded there."""


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
    _print_title(console, manifest)
    shipped = [form for form in all_forms(manifest) if form.name in manifest.variants]
    _print_variants(console, manifest, shipped, SHORT)
    _print_evidence(console, manifest)
    for wrapper in manifest.contract.wrappers:
        _print_line(console, "Callers must apply", wrapper_text(wrapper), style="yellow")
    for note in notes:
        _print_line(console, "Note", printable(note), style="yellow")
    console.print(f"Written in {seconds:.0f} s to", Text(str(bundle.path), "bold"))


def print_verification(verification: Verification) -> None:
    """What was checked and how it came out."""
    console = _console()
    console.print(f"{len(verification.bundle.manifest.files)} files are as the manifest says.")
    _print_signatures(console, verification.signatures)
    table = Table("Variant", "Rows", "Largest difference", "Decisions changed", "Certificate", box=None)
    for name, result in verification.results.items():
        verdict = "[green]passed[/]" if result.passed else "[red]failed[/]"
        table.add_row(name, str(result.rows), f"{result.max_error:.2g}", str(result.flips), verdict)
    console.print(table)
    for name, result in verification.results.items():
        for failure in result.failures:
            _print_line(console, name, failure)


def print_contract(bundle: Bundle, signatures: SignatureCheck) -> None:
    """What the policy takes and gives, what it was measured to do, and where it comes from."""
    console = _console()
    manifest = bundle.manifest
    contract = manifest.contract
    _print_title(console, manifest)
    _print_table(console, ELEMENT_HEAD, (*input_rows(contract), *action_rows(contract)))
    _print_table(console, OUTPUT_HEAD, output_rows(contract))
    console.print(f"Modes: {', '.join(contract.modes)}. {mask_text(contract)} {noise_text(contract.noise)}")
    if contract.inside:
        _print_line(console, "Inside the graph", ", ".join(map(printable, contract.inside)))
    for wrapper in contract.wrappers:
        _print_line(console, "Callers must apply", wrapper_text(wrapper), style="yellow")
    _print_variants(console, manifest, all_forms(manifest))
    _print_evidence(console, manifest)
    for label, text in (*provenance_facts(manifest), *digest_facts(manifest), ("Bundle", bundle.digest)):
        _print_line(console, label, text)
    _print_signatures(console, signatures)


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def _print_title(console: Console, manifest: Manifest) -> None:
    console.print(Text(manifest.policy, "bold"), Text(f"version {manifest.version}: {origin(manifest)}"))


def _print_line(console: Console, label: str, text: str, style: str = "") -> None:
    """A line whose text is shown as it is: names are no markup."""
    console.print(Text.assemble((f"{label}:", style), " ", text))


def _print_table(console: Console, head: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    table = Table(box=None)
    for column in head:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_variants(
    console: Console, manifest: Manifest, forms: Sequence[Form], columns: Sequence[str] | None = None
) -> None:
    head, *rows = table_of(forms, columns) if columns else table_of(forms)
    _print_table(console, head, rows)
    for rejected in manifest.rejected_variants:
        _print_line(console, f"  Left out {printable(rejected.scheme)}", printable(rejected.reason))


def _print_evidence(console: Console, manifest: Manifest) -> None:
    console.print(f"fp32 against SB3: {parity_text(manifest.parity)}")
    if manifest.parity.returns:
        console.print(f"Return of SB3's own policy: {returns_text(manifest.parity.returns)}")
    if manifest.reference.synthetic:
        console.print(
            "Reference: synthetic, for nothing was played or recorded; see --env and --observations",
            style="yellow",
        )
    else:
        described = (reference_source(manifest), *reference_lines(manifest))
        console.print(f"Reference: {'; '.join(described)}")


def _print_signatures(console: Console, check: SignatureCheck) -> None:
    if not (check.signers or check.unknown):
        console.print("Not signed: nobody vouches for it.", style="yellow")
    for signer in check.signers:
        trusted = "a trusted key" if signer in check.trusted else "a key that --trusted-key does not name"
        console.print(f"Signed by {signer}, {trusted}.")
    for algorithm in check.unknown:
        console.print(f"Signed with {algorithm}, which is not known here", style="yellow")
