"""The breakers of a worker: a version keeps its own when the routing changes around it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from weakref import WeakValueDictionary

from steersman.safety.breaker import Breaker
from steersman.safety.breaker_settings import BreakerSettings
from steersman.safety.breaker_states import Transition

Tell = Callable[[str, str, Transition], None]
"""Told of a policy, the digest of its version, and a change of that version's breaker."""


class Breakers:
    """Makes breakers. The lanes of a version share one, and it lasts for as long as anybody holds it.

    Args:
        clock: Seconds that never go back, such as `time.monotonic`.
        tell: Told of each change of state; see `Breaker`.
    """

    def __init__(self, clock: Callable[[], float], tell: Tell) -> None:
        self._clock, self._tell = clock, tell
        self._lock = Lock()
        self._known: WeakValueDictionary[tuple[str, str, BreakerSettings], Breaker] = WeakValueDictionary()

    def of(self, policy: str, digest: str, settings: BreakerSettings) -> Breaker:
        """The version's breaker: the one that it has, unless its settings changed; a new one is closed."""
        key = (policy, digest, settings)
        with self._lock:
            found = self._known.get(key)
            if found is None:
                found = Breaker(settings, self._clock, lambda told: self._tell(policy, digest, told))
                self._known[key] = found
            return found
