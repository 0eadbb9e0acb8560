"""`steersman check`: a deployment held against a bundle, and recorded rows against its safety."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.calling import AsJson, print_facts
from steersman.cli.deployments import print_rich_table
from steersman.cli.trying import BundleOption, EntryPointOption, PolicyOption, Text, aids_of, contract_of

if TYPE_CHECKING:
    from steersman.safety.safeguards import Safeguards
    from steersman.safety.settings import SafetySettings
    from steersman.safety.trials.recorded import Judged, Recorded

COUNTED = ("kind", "name", "rows")
SHOWN = ("row", "ruled out by", "margin")


def check(
    deployment: Annotated[Path, typer.Argument(help="Deployment, YAML or JSON.")],
    *,
    bundle: BundleOption = None,
    policy: PolicyOption = None,
    rows: Annotated[
        Path | None,
        typer.Option(help="Recorded observations, actions, masks: .npz, .csv or .jsonl; see docs/safety.md."),
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="Most rows that are listed.")] = 20,
    allow_entry_point: EntryPointOption = None,
    as_json: AsJson = False,
) -> None:
    """Check a deployment's safety against a policy; with --rows, say which rows it would have ruled out.

    Exit status: 0 it fits and rules no row out, 1 it rules rows out, 2 it does not fit.

    Example: steersman check cartpole.yaml --bundle bundles/cartpole/1 --rows yesterday.npz
    """
    from steersman.safety.checking import check_safety
    from steersman.safety.trials.recorded import judge
    from steersman.safety.trials.row_files import read_rows
    from steersman.safety.trials.subject import Subject
    from steersman.serving.rollout.yaml_lines import pointing

    contract, reference = contract_of(bundle, policy)
    text = Text.read(deployment)
    settings = text.as_deployment().safety
    with pointing(text.text, text.file):
        compiled = check_safety(settings, contract, reference, aids_of(allow_entry_point))
    if rows is None:
        _print_fit(settings, compiled, as_json=as_json)
        return
    subject = Subject.of_compiled(compiled, contract)
    recorded = read_rows(rows, contract)
    judged = judge(subject, recorded)
    names = compiled.constraints.names if compiled.constraints is not None else ()
    if as_json:
        typer.echo(json.dumps(_plain(judged, recorded, names)))
    else:
        _print_rows(judged, recorded, names, most)
    raise typer.Exit(1 if judged.ruled_out().any() else 0)


def _print_fit(settings: SafetySettings, compiled: Safeguards, *, as_json: bool) -> None:
    constraints = [
        {"name": each.name, "kind": each.kind, "when": each.when or "", "then": each.then}
        for each in settings.constraints
    ]
    if as_json:
        shown = {"fits": True, "constraints": constraints, "fallback": list(compiled.fallback.names)}
        typer.echo(json.dumps({**shown, "remembered_bytes": compiled.layout.size}))
        return
    facts = {
        "fallback": ", ".join(compiled.fallback.names) or "none: rows fail that the policy may not answer",
        "safe action": "-" if compiled.safe_action is None else str(compiled.safe_action.tolist()),
        "remembered": f"{compiled.layout.size} bytes per episode",
    }
    if constraints:
        cells = [tuple(value or "-" for value in each.values()) for each in constraints]
        print_rich_table("", ("constraint", "kind", "when", "then"), cells)
    print_facts(facts.items())
    typer.echo("it fits")


def _print_rows(judged: Judged, recorded: Recorded, names: tuple[str, ...], most: int) -> None:
    against = judged.ruled_out().nonzero()[0]
    if len(against):
        counts = [(kind, name, str(found)) for kind, name, found in judged.counts(names)]
        print_rich_table("", COUNTED, counts)
        listed = [_cells(judged, int(row), names) for row in against[:most]]
        if listed:
            print_rich_table("", SHOWN, listed)
        if len(against) > most:
            typer.echo(f"and {len(against) - most} more rows; --most shows more, --json all")
    typer.echo(f"{len(against)} of {recorded.rows} rows would have been ruled out")
    if recorded.actions is None:
        typer.echo("no actions in the file: constraints were not looked at", err=True)
    elif recorded.episodes is None:
        typer.echo("no episodes in the file: each row stands by itself", err=True)
    if judged.assumed:
        typer.echo(f"{judged.assumed} rows began from the values that the deployment declares", err=True)


def _cells(judged: Judged, row: int, names: tuple[str, ...]) -> tuple[str, str, str]:
    found = list(_against(judged, row, names))
    margins = [f"{margin:.4g}" for _, margin in found if margin is not None]
    return str(row), ", ".join(name for name, _ in found), ", ".join(margins) or "-"


def _against(judged: Judged, row: int, names: tuple[str, ...]) -> Iterator[tuple[str, float | None]]:
    """What is against a row, and by how much where that is known."""
    from steersman.safety.guard_settings import GUARD_REASONS

    if judged.guarded[row]:
        yield GUARD_REASONS[judged.guarded[row]].value, None
    if judged.masked[row]:
        yield "action_masked", None
    for name, margin, violated in zip(names, judged.margins[:, row], judged.violated()[:, row], strict=True):
        if violated:
            yield name, float(margin)


def _plain(judged: Judged, recorded: Recorded, names: tuple[str, ...]) -> dict[str, Any]:
    against = judged.ruled_out().nonzero()[0].tolist()
    return {
        "rows": recorded.rows,
        "ruled_out": len(against),
        "assumed": judged.assumed,
        "counts": [{"kind": kind, "name": name, "rows": found} for kind, name, found in judged.counts(names)],
        "against": [
            {"row": row, "by": [name for name, _ in _against(judged, row, names)]} for row in against
        ],
    }
