"""The breakers of a worker's versions: what they do is counted and logged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from weakref import WeakSet

from steersman.monitoring.recorder import Recorder
from steersman.safety.breaker import Breaker
from steersman.safety.breaker_settings import BreakerSettings
from steersman.safety.breaker_states import Transition
from steersman.safety.breakers import Breakers

log = logging.getLogger(__name__)


class VersionBreakers:
    """Makes the breakers of versions, and counts what they do where their version is counted.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._breakers = Breakers(clock, self._told)
        self._recorders: dict[tuple[str, str], WeakSet[Recorder]] = {}

    def of(
        self, policy: str, digest: str, settings: BreakerSettings | None, recorder: Recorder
    ) -> Breaker | None:
        """The version's breaker, which all lanes of the version share; None where none is asked for.

        Args:
            policy: Name of the policy.
            digest: Digest of the version.
            settings: From the deployment.
            recorder: Of the lane; what the breaker does is counted in every lane of the version.
        """
        if settings is None:
            recorder.show_breaker(None)
            return None
        breaker = self._breakers.of(policy, digest, settings)
        self._recorders.setdefault((policy, digest), WeakSet()).add(recorder)
        recorder.show_breaker(str(breaker.state))
        return breaker

    def _told(self, policy: str, digest: str, told: Transition) -> None:
        log.warning(
            "breaker changed",
            extra={
                "policy": policy,
                "digest": digest[:16],
                "before": str(told.before),
                "after": str(told.after),
                "cause": str(told.cause),
                "why": told.why,
            },
        )
        for recorder in list(self._recorders.get((policy, digest), ())):
            recorder.record_transition(str(told.before), str(told.after))
