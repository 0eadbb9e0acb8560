"""The version of a policy that was stable before the one that is now, to answer in its place.

It is known since this worker saw the change; after a restart there is none until the next one, and chains go
on to their next member.
"""

from __future__ import annotations

import numpy as np

from steersman.safety.asking import Asked, Offer
from steersman.serving.deciding.runtime import LoadedVersion


class LastGood:
    """What was stable, by policy. One thread changes it, any may ask."""

    def __init__(self) -> None:
        self._stable: dict[str, LoadedVersion] = {}
        self._before: dict[str, LoadedVersion] = {}

    def follow(self, policy: str, stable: LoadedVersion | None) -> None:
        """Another version of the policy may be stable now."""
        known = self._stable.get(policy)
        if stable is None or (known is not None and known.digest == stable.digest):
            return
        if known is not None:
            self._before[policy] = known
        self._stable[policy] = stable

    def oracle(self, policy: str) -> Earlier | None:
        """The version before; None where there is none, or it cannot stand in for the present one."""
        before, now = self._before.get(policy), self._stable.get(policy)
        if before is None or now is None or before.contract.state:
            return None
        same = (before.contract.observations, before.contract.action) == (
            now.contract.observations,
            now.contract.action,
        )
        return Earlier(before) if same else None


class Earlier:
    """An earlier version that answers greedily.

    Args:
        version: The version.
    """

    def __init__(self, version: LoadedVersion) -> None:
        self._version = version

    def answer(self, asked: Asked) -> Offer | None:
        """Its actions for N rows, all fit to be shown to a model."""
        if asked.observations is None:
            return None
        session = self._version.session
        (actions,) = session.run(("action",), session.feeds(asked.observations, asked.mask))
        return Offer(actions, np.ones(asked.rows, np.bool_))
