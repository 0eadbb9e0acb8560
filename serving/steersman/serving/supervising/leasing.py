"""Leases: until when policies may go on without a sign of somebody who watches.

A lease runs from the moment at which a deployment first asks for it, and from then on each heartbeat renews
it. A restart does not: the time that was left is what is left.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from steersman.safety.commands import Lease, LeaseSettings
from steersman.serving.rollout.errors import ChangeRefusedError

SECOND = 10**9
Asked = Mapping[str, LeaseSettings | None]
"""What the deployment of each policy that is served asks for; None for no lease."""
log = logging.getLogger(__name__)


class Leases:
    """The leases of a host. Times are Unix nanoseconds.

    Args:
        until: What is known of an earlier run, by policy.
    """

    def __init__(self, until: Mapping[str, int]) -> None:
        self._until = dict(until)
        self._stored: Mapping[str, int] = {}
        self._asked: Asked = {}
        self._expired: set[str] = set()

    @property
    def listed(self) -> tuple[Lease, ...]:
        """The leases of the policies that need one."""
        return tuple(Lease(policy=policy, until_unix_nanos=self._until[policy]) for policy in self._needed)

    @property
    def until(self) -> dict[str, int]:
        """When each ends, by policy."""
        return {lease.policy: lease.until_unix_nanos for lease in self.listed}

    @property
    def dropped(self) -> frozenset[str]:
        """Policies in the store whose deployment, which is known here, asks for no lease any more."""
        return frozenset(policy for policy in self._stored if self._asked.get(policy, self) is None)

    def follow(self, asked: Asked, now: int) -> None:
        """Goes on with what deployments ask for now; says in the log what has expired."""
        self._asked = asked
        until = {}
        for policy, settings in asked.items():
            if settings is not None:
                latest = now + round(settings.within_s * SECOND)
                known = max(self._until.get(policy, 0), self._stored.get(policy, 0)) or latest
                until[policy] = min(known, latest)  # the clock, or the deployment, may have been changed
        self._until = until
        self._tell(now)

    def learn(self, stored: Mapping[str, int]) -> None:
        """Takes over what other hosts have renewed."""
        self._stored = stored

    def renew(self, policy: str, valid_s: float, now: int) -> dict[str, int]:
        """Renews the lease of a policy, or with an empty name every lease. Returns when they end now.

        Args:
            policy: The policy.
            valid_s: Seconds that this sign is good for, at most what the deployment says; 0 for that.
            now: The time.

        Raises:
            ChangeRefusedError: There is no such lease.
        """
        renewed = [found for found in self._needed if policy in {"", found}]
        if not renewed:
            raise self._no_lease(policy)
        for name in renewed:
            settings = self._asked[name]
            within_s = settings.within_s if settings is not None else 0.0
            until = now + round(min(valid_s or within_s, within_s) * SECOND)
            self._until[name] = max(self._until[name], until)
        self._tell(now)
        return {name: self._until[name] for name in renewed}

    @property
    def _needed(self) -> list[str]:
        return sorted(policy for policy, settings in self._asked.items() if settings is not None)

    def _tell(self, now: int) -> None:
        over = {policy for policy, until in self._until.items() if until <= now}
        for policy in sorted(over - self._expired):
            log.error("LEASE EXPIRED: the fallback chain answers", extra={"policy": policy})
        for policy in sorted(self._expired - over):
            log.warning("the lease is renewed: the policy answers again", extra={"policy": policy})
        self._expired = over

    def _no_lease(self, policy: str) -> ChangeRefusedError:
        if policy and policy not in self._asked:
            return no_policy(policy, self._asked)
        what = (
            f"the deployment of {policy!r} asks for no lease" if policy else "no deployment asks for a lease"
        )
        return ChangeRefusedError("no_lease", what, expected="safety: {lease: {within_s: ...}} in it")


def no_policy(policy: str, there: Iterable[str]) -> ChangeRefusedError:
    """The error for a policy that is not served."""
    expected = f"one of: {', '.join(sorted(there)[:16])}"
    return ChangeRefusedError("policy_not_found", f"there is no policy {policy[:64]!r}", expected=expected)
