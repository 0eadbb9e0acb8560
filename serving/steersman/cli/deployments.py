"""Deployments on a terminal: tables, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer

LANE_COLUMNS = ("lane", "version", "share", "workers", "state")
HISTORY_COLUMNS = ("id", "policy", "revision", "at", "actor", "action", "changes", "reason")


def print_message(message: Any) -> None:
    """A protobuf message as JSON; documents in it stay text."""
    from google.protobuf.json_format import MessageToDict

    value = MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )
    typer.echo(json.dumps(value, ensure_ascii=False))


def print_change(answer: Any, *, dry_run: bool) -> None:
    """What a change did."""
    if answer.unchanged and not answer.changes:
        typer.echo(f"{answer.deployment.policy}: nothing to change")
    for line in answer.changes:
        typer.echo(f"{'would change ' if dry_run else ''}{answer.deployment.policy}: {line}")
    print_statuses([answer.deployment])
    status = answer.deployment
    if not answer.unchanged and status.workers_current < status.workers:
        waiting = status.workers - status.workers_current
        typer.echo(f"{waiting} of {status.workers} workers still load it", err=True)


def print_statuses(statuses: Sequence[Any]) -> None:
    """A table of lanes for each deployment, and what ails it."""
    for status in statuses:
        rollout = f", rollout epoch {status.epoch}" if status.rollout_id else ""
        revision = f"revision {status.revision}" if status.revision else "no deployment applied"
        rows = [_lane_cells(lane, status.workers) for lane in status.lanes]
        print_rich_table(f"{status.policy}: {revision}{rollout}", LANE_COLUMNS, rows)
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


def _lane_cells(lane: Any, workers: int) -> tuple[str, ...]:
    share = f"{100 * lane.share:.4g} %" if lane.share else "-"
    state = "draining" if lane.draining else "ready" if lane.workers_ready == workers else "loading"
    return (lane.lane, str(lane.version), share, f"{lane.workers_ready}/{workers}", state)
