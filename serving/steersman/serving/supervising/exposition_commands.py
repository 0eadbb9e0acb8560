"""What people ordered in place of policies, for Prometheus: kill switch, overrides, leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product
from typing import get_args

from steersman.monitoring import metrics
from steersman.monitoring.series import Series
from steersman.safety.commands import CommandList, Lease, Override, OverrideKind, Scope


def command_series(listed: CommandList, policies: Iterable[str], now_unix_nanos: int) -> Iterator[Series]:
    """What is ordered now.

    Args:
        listed: What the workers were told last.
        policies: Policies that are served; they have a series for each kind of override, at 0 where there is
            none.
        now_unix_nanos: The time; overrides that are over by then are left out.
    """
    yield metrics.KILL_SWITCH, (), listed.kill_switch is not None
    in_force = [found for found in listed.overrides if now_unix_nanos < found.expires_unix_nanos]
    yield from _override_series(in_force, policies)
    for lease in listed.leases:
        yield from _lease_series(lease, now_unix_nanos)


def _override_series(in_force: list[Override], policies: Iterable[str]) -> Iterator[Series]:
    found = Counter((each.policy, each.scope, each.kind) for each in in_force)
    named = sorted({*policies, *(each.policy for each in in_force)})
    for labels in product(named, get_args(Scope), get_args(OverrideKind)):
        yield metrics.OVERRIDES, labels, found[labels]
    for policy in named:
        ends = [each.expires_unix_nanos for each in in_force if each.policy == policy]
        if ends:
            yield metrics.OVERRIDE_EXPIRY, (policy,), min(ends) / 1e9


def _lease_series(lease: Lease, now_unix_nanos: int) -> Iterator[Series]:
    yield metrics.LEASE_EXPIRY, (lease.policy,), lease.until_unix_nanos / 1e9
    yield metrics.LEASE_EXPIRED, (lease.policy,), now_unix_nanos >= lease.until_unix_nanos
