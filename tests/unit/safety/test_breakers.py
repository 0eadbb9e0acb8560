from __future__ import annotations

import gc

from steersman.safety.breaker_settings import BreakerSettings
from steersman.safety.breaker_states import BreakerState
from steersman.safety.breakers import Breakers

SETTINGS = BreakerSettings(errors=0.1)


def test_a_version_keeps_its_breaker_and_says_whose_it_is():
    told = []
    breakers = Breakers(lambda: 0.0, lambda *what: told.append(what))
    first = breakers.of("pole", "ab", SETTINGS)
    assert breakers.of("pole", "ab", SETTINGS.model_copy()) is first
    first.note(100, errors=100)
    [(policy, digest, transition)] = told
    assert (policy, digest, transition.after) == ("pole", "ab", BreakerState.OPEN)


def test_other_versions_policies_and_settings_have_others():
    breakers = Breakers(lambda: 0.0, lambda *_: None)
    first = breakers.of("pole", "ab", SETTINGS)
    others = [
        breakers.of("pole", "cd", SETTINGS),
        breakers.of("arm", "ab", SETTINGS),
        breakers.of("pole", "ab", BreakerSettings(errors=0.2)),
    ]
    first.note(100, errors=100)
    assert [other.state for other in others] == [BreakerState.CLOSED] * 3


def test_a_breaker_that_nobody_holds_is_forgotten():
    breakers = Breakers(lambda: 0.0, lambda *_: None)
    breakers.of("pole", "ab", SETTINGS).note(100, errors=100)
    gc.collect()
    assert breakers.of("pole", "ab", SETTINGS).state is BreakerState.CLOSED
