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
from steersman.serving.deciding.runtime import LoadedVersion

Tell = Callable[[str, int, Transition], None]
log = logging.getLogger(__name__)


class VersionBreakers:
    """Makes the breakers of versions, and counts what they do where their version is counted.

    Args:
        clock: Seconds that never go back.
        tell: Told of a policy, its version and a change; on any thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, tell: Tell = lambda *_: None) -> None:
        self._tell = tell
        self._versions: dict[tuple[str, str], int] = {}
        self._breakers = Breakers(clock, self._told)
        self._recorders: dict[tuple[str, str], WeakSet[Recorder]] = {}

    def of(
        self, policy: str, loaded: LoadedVersion, settings: BreakerSettings | None, recorder: Recorder
    ) -> Breaker | None:
        """The version's breaker, which all lanes of the version share; None where none is asked for.

        Args:
            policy: Name of the policy.
            loaded: The version.
            settings: From the deployment.
            recorder: Of the lane; what the breaker does is counted in every lane of the version.
        """
        if settings is None:
            recorder.show_breaker(None)
            return None
        digest = loaded.digest
        breaker = self._breakers.of(policy, digest, settings)
        self._versions[policy, digest] = loaded.manifest.version
        self._recorders.setdefault((policy, digest), WeakSet()).add(recorder)
        recorder.show_breaker(str(breaker.state))
        return breaker

    def _told(self, policy: str, digest: str, told: Transition) -> None:
        log.warning(
            "breaker changed",
            extra={
                "policy": policy,
                "version": self._versions.get((policy, digest)),
                "before": str(told.before),
                "after": str(told.after),
                "cause": str(told.cause),
                "why": told.why,
            },
        )
        for recorder in list(self._recorders.get((policy, digest), ())):
            recorder.record_transition(str(told.before), str(told.after))
        self._tell(policy, self._versions.get((policy, digest), 0), told)
