"""Overrides, kill switch and leases on a terminal, and lengths of time as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import typer

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds(text: str) -> float:
    """A length of time such as 90s, 10m, 2h or 7d.

    Raises:
        UsageError: It is none.
    """
    from steersman.bundle.errors import UsageError

    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", text.strip())
    if found is None:
        raise UsageError(
            f"{text[:64]!r} is no length of time", where="--for", expected="such as 90s, 10m or 2h"
        )
    return float(found[1]) * _UNITS[found[2]]


def print_override(answer: Any) -> None:
    """What was changed, and until when."""
    for line in answer.changes:
        typer.echo(line)
    if answer.dry_run:
        typer.echo("dry run: nothing was changed")
        return
    typer.echo(f"until {when(answer.override.expires_unix_nanos)}", nl=False)
    typer.echo(f"; {answer.workers_current} of {answer.workers} workers follow")


def print_overrides(answer: Any) -> None:
    """Everything that is ordered."""
    from rich.console import Console
    from rich.table import Table

    if answer.HasField("kill_switch"):
        on = answer.kill_switch
        typer.echo(
            f"THE KILL SWITCH IS ON since {when(on.at_unix_nanos)}, by {on.actor}: {on.reason or 'no reason'}"
        )
    if not answer.overrides:
        typer.echo("no overrides are in force")
    else:
        table = Table("id", "policy", "for", "ordered", "until", "by", "why")
        for each in answer.overrides:
            table.add_row(
                each.id,
                each.policy,
                _target(each),
                _ordered(each),
                when(each.expires_unix_nanos),
                each.actor,
                each.reason,
            )
        Console(soft_wrap=True).print(table)
    print_leases(answer.leases)


def print_leases(leases: Iterable[Any]) -> None:
    """Until when policies may answer without another sign."""
    for lease in leases:
        state = "EXPIRED: the fallback chain answers, since" if lease.expired else "good until"
        typer.echo(f"lease of {lease.policy}: {state} {when(lease.until_unix_nanos)}")


def when(unix_nanos: int) -> str:
    """A time, UTC."""
    if not unix_nanos:
        return "an unknown time"
    return f"{datetime.fromtimestamp(unix_nanos / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _target(override: Any) -> str:
    if override.episode_id:
        return f"episode {override.episode_id}"
    return f"lane {override.lane}" if override.lane else "all"


def _ordered(override: Any) -> str:
    if override.action:
        return f"pin {override.action}"
    return f"freeze to version {override.version}" if override.version else "fallback"
