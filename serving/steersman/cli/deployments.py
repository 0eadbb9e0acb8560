"""Deployments on a terminal: tables, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer

LANE_COLUMNS = ("lane", "version", "share", "workers", "state", "labels")
NEVER_APPLIED = "no deployment applied"
HISTORY_COLUMNS = ("id", "policy", "revision", "at", "actor", "action", "changes", "reason")


def print_message(message: Any) -> None:
    """A message of the control service as JSON with all its fields; documents in it stay text."""
    typer.echo(json.dumps(_plain(message), ensure_ascii=False))


def print_yaml(status: Any) -> None:
    """The deployment in force as a file that `steersman deploy apply` takes back unchanged."""
    from steersman.serving.rollout.yaml_text import write_yaml

    said = f"revision {status.revision}" if status.revision else NEVER_APPLIED
    typer.echo(f"# the deployment of {status.policy} in force: {said}")
    typer.echo(write_yaml(json.loads(status.document)), nl=False)


def print_change(answer: Any, *, dry_run: bool) -> None:
    """What a change did, or would do."""
    status = answer.deployment
    if answer.unchanged and not answer.changes:
        typer.echo(f"{status.policy}: nothing to change")
    for line in answer.changes:
        typer.echo(f"{'would change ' if dry_run else ''}{status.policy}: {line}")
    if dry_run and answer.changes:
        _print_status(status, f"{status.policy}: would be revision {status.revision}", would_be=True)
        typer.echo("dry run: nothing was changed; the same without --dry-run does it")
        return
    print_statuses([status])
    if not answer.unchanged and status.workers_current < status.workers:
        waiting = status.workers - status.workers_current
        typer.echo(f"{waiting} of {status.workers} workers still load it", err=True)


def print_statuses(statuses: Sequence[Any]) -> None:
    """A table of lanes for each deployment, and what ails it."""
    for status in statuses:
        revision = f"revision {status.revision}" if status.revision else NEVER_APPLIED
        _print_status(status, f"{status.policy}: {revision}")


def _print_status(status: Any, title: str, *, would_be: bool = False) -> None:
    rollout = f", rollout epoch {status.epoch}" if status.rollout_id else ""
    rows = [_lane_cells(lane, status.workers, would_be=would_be) for lane in status.lanes]
    print_rich_table(f"{title}{rollout}", LANE_COLUMNS, rows)
    for problem in status.problems:
        typer.echo(f"  problem: {problem}", err=True)


def print_history(entries: Sequence[Any]) -> None:
    """A table of changes, newest first."""
    rows = [
        (
            str(entry.id),
            entry.policy,
            str(entry.revision),
            f"{datetime.fromtimestamp(entry.at_unix_nanos / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}",
            entry.actor,
            entry.action,
            "\n".join(entry.changes),
            entry.reason,
        )
        for entry in entries
    ]
    print_rich_table("", HISTORY_COLUMNS, rows)


def print_rich_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; as wide as it needs to be where nobody watches, so that nothing is cut off in a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, highlight=False, width=10_000)
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _lane_cells(lane: Any, workers: int, *, would_be: bool) -> tuple[str, ...]:
    share = f"{100 * lane.share:.4g} %" if lane.share else "-"
    state = "draining" if lane.draining else "ready" if lane.workers_ready == workers else "loading"
    labels = ", ".join(lane.labels) or "-"
    ready = ("-", "would drain" if lane.draining else "would serve")
    loaded = ready if would_be else (f"{lane.workers_ready}/{workers}", state)
    return (lane.lane, str(lane.version), share, *loaded, labels)


def _plain(value: Any) -> Any:
    """Numbers as numbers: protobuf's own JSON has 64-bit integers as text."""
    if hasattr(value, "DESCRIPTOR"):
        return {field.name: _field(value, field) for field in value.DESCRIPTOR.fields}
    if isinstance(value, str | bytes | bool | int | float):
        return value
    return [_plain(item) for item in value]


def _field(message: Any, field: Any) -> Any:
    """A field: what is absent is null, and what is one of a set of words is the word."""
    if field.has_presence and not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    return _plain(value) if field.enum_type is None else field.enum_type.values_by_number[value].name
