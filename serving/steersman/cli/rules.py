"""`steersman rules`: rule files and fallback chains, tried on cases before they are deployed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.calling import AsJson
from steersman.cli.deployments import print_rich_table
from steersman.cli.trying import (
    BundleOption,
    EntryPointOption,
    PolicyOption,
    Text,
    action_text,
    aids_of,
    contract_of,
)

if TYPE_CHECKING:
    from steersman.bundle.reference import Reference
    from steersman.bundle.specs import Contract
    from steersman.safety.members import Aids
    from steersman.safety.trials.cases import CasesSettings
    from steersman.safety.trials.coverage import RuleCoverage
    from steersman.safety.trials.run import CaseResult, Trial
    from steersman.safety.trials.subject import Subject

COLUMNS = ("case", "", "action", "source", "member", "rule", "reason", "margin")

rules = typer.Typer(
    help="Try rules and fallback chains on cases before they are deployed.", no_args_is_help=True
)


@rules.callback()
def _group() -> None:
    """Keeps `test` a command of its own."""


@rules.command("test")
def try_rules(
    file: Annotated[Path, typer.Argument(help="Rule file, `safety` section or deployment, YAML.")],
    *,
    cases: Annotated[Path, typer.Option(help="Table of cases, YAML or CSV; see docs/safety.md.")],
    bundle: BundleOption = None,
    policy: PolicyOption = None,
    allow_entry_point: EntryPointOption = None,
    require_coverage: Annotated[
        bool,
        typer.Option("--require-coverage", help="Fail if a rule or a part of a condition was never seen."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a rule file, or a deployment's guard, constraints and fallback, on a table of cases.

    Exit status: 0 all cases are as expected, 1 some are not, 2 a file or an option is wrong.

    Example: steersman rules test lean.yaml --cases lean-cases.yaml --bundle bundles/cartpole/1
    """
    from steersman.safety.trials.coverage import coverage
    from steersman.safety.trials.run import run_cases
    from steersman.serving.rollout.yaml_lines import pointing

    contract, reference = contract_of(bundle, policy)
    text = Text.read(file)
    with pointing(text.text, text.file, "safety" if _is_deployment(text) else ""):
        subject = _subject(text, contract, reference, aids_of(allow_entry_point))
    source, table = _cases(cases)
    with pointing(source, str(cases), ""):
        trial = run_cases(subject, table)
    covered = coverage(subject, trial)
    if as_json:
        typer.echo(json.dumps(_plain(trial, covered), ensure_ascii=False))
    else:
        _print(trial, covered, contract)
    gaps = require_coverage and any(rule.gaps for rule in covered)
    raise typer.Exit(1 if trial.failed or gaps else 0)


def _is_deployment(text: Text) -> bool:
    return isinstance(text.data, dict) and "policy" in text.data


def _subject(text: Text, contract: Contract, reference: Reference | None, aids: Aids) -> Subject:
    from steersman.safety.rules import RulesSettings
    from steersman.safety.settings import SafetySettings
    from steersman.safety.trials.subject import Subject

    if isinstance(text.data, list) or (isinstance(text.data, dict) and "rules" in text.data):
        return Subject.of_rules(text.as_settings(RulesSettings), contract)
    safety = text.as_deployment().safety if _is_deployment(text) else text.as_settings(SafetySettings)
    return Subject.of_safety(safety, contract, reference, aids)


def _cases(path: Path) -> tuple[str, CasesSettings]:
    """The text of the cases, empty where its lines are known already, and the cases."""
    from steersman.bundle.validation import validated
    from steersman.safety.trials.cases import CasesSettings
    from steersman.safety.trials.csv_cases import read_csv
    from steersman.serving.rollout.deployment import read_deployment_text

    if path.suffix != ".csv":
        text = Text.read(path)
        return text.text, text.as_settings(CasesSettings)
    return "", validated(CasesSettings, read_csv(read_deployment_text(path), str(path)), where=str(path))


def _print(trial: Trial, covered: Sequence[RuleCoverage], contract: Contract) -> None:
    print_rich_table("", COLUMNS, [_cells(result, contract) for result in trial.results])
    for result in trial.results:
        for wrong in result.wrong:
            typer.echo(f"{result.name}: {wrong}", err=True)
    decided = sum(bool(rule.decided) for rule in covered)
    total = len(trial.results)
    typer.echo(f"\n{total - trial.failed} of {total} cases as expected")
    if covered:
        typer.echo(f"{decided} of {len(covered)} rules decided a case")
    for rule in covered:
        for gap in rule.gaps:
            typer.echo(f"  {rule.member}, {rule.rule}: {gap}")


def _cells(result: CaseResult, contract: Contract) -> tuple[str, ...]:
    found = result.outcome
    reason = f"{found.reason} ({found.constraint})" if found.constraint else found.reason
    return (
        result.name,
        "FAILED" if result.wrong else "ok",
        action_text(found.action, contract),
        found.source,
        found.member or "-",
        found.rule or "-",
        reason or "-",
        _margin(found.margin),
    )


def _margin(margin: float) -> str:
    return f"{margin:.4g}" if math.isfinite(margin) else "-"


def _plain(trial: Trial, covered: Sequence[RuleCoverage]) -> dict[str, Any]:
    return {
        "passed": len(trial.results) - trial.failed,
        "failed": trial.failed,
        "cases": list(_plain_cases(trial.results)),
        "rules": [
            {"member": rule.member, "rule": rule.rule, "decided": rule.decided, "gaps": list(rule.gaps)}
            for rule in covered
        ],
    }


def _plain_cases(results: Sequence[CaseResult]) -> Iterator[dict[str, Any]]:
    for result in results:
        found = result.outcome
        yield {
            "name": result.name,
            "passed": not result.wrong,
            "wrong": list(result.wrong),
            "action": None if found.action is None else found.action.tolist(),
            "source": found.source,
            "member": found.member,
            "rule": found.rule,
            "reason": found.reason,
            "constraint": found.constraint,
            "margin": found.margin if math.isfinite(found.margin) else None,
        }
