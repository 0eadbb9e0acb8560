from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from steersman.safety.breaker import Breaker
from steersman.safety.breaker_settings import BreakerSettings, LateSettings
from steersman.safety.breaker_states import TRANSITIONS, BreakerCause, BreakerState

CLOSED, HALF_OPEN, OPEN = BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN
SETTINGS = BreakerSettings(
    errors=0.1, late=LateSettings(after_ms=50, rate=0.2), guarded=0.5, window=100, least=20
)


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A breaker with its clock and what it told."""

    def __init__(self, settings: BreakerSettings = SETTINGS) -> None:
        self.clock, self.told = Clock(), []
        self.breaker = Breaker(settings, self.clock, self.told.append)

    def opened(self) -> Watched:
        self.breaker.note(100, errors=100)
        return self

    def half_opened(self) -> Watched:
        self.opened()
        self.clock.now += self.breaker._settings.open_s
        self.breaker.admits(1)
        return self

    def serve(self, rows: int, *, seconds: float = 0.0, **bad: int) -> None:
        """Lets rows come until so many were let through, and notes them."""
        for _ in range(1000 * rows):
            admitted = self.breaker.admits(1)
            passed = 1 if admitted is None else int(admitted.sum())
            self.clock.now += seconds * passed
            self.breaker.note(passed, **(bad if passed else {}))
            rows -= passed
            if not rows:
                return
        raise AssertionError(f"{rows} rows were not let through")


@pytest.fixture
def watched():
    return Watched()


def test_a_closed_breaker_lets_all_through(watched):
    assert watched.breaker.admits(64) is None
    watched.breaker.note(64)
    assert (watched.breaker.state, watched.breaker.share) == (CLOSED, 1.0)
    assert watched.told == []


@pytest.mark.parametrize(
    ("bad", "cause", "why"),
    [
        ({"errors": 11}, BreakerCause.ERRORS, "11 of 100 decisions failed, the limit is 0.1"),
        ({"late": 21}, BreakerCause.LATE, "21 of 100 decisions were late, the limit is 0.2"),
        (
            {"guarded": 51},
            BreakerCause.GUARDED,
            "51 of 100 decisions were kept from the model by the guard, the limit is 0.5",
        ),
    ],
)
def test_it_opens_above_each_limit_and_says_why(watched, bad, cause, why):
    at_limit = {name: count - 1 for name, count in bad.items()}
    watched.breaker.note(100, **at_limit)
    assert watched.breaker.state is CLOSED
    watched.clock.now = 7.0
    watched.breaker.note(100, **bad)
    [told] = watched.told
    assert (told.before, told.after, told.cause, told.why, told.at) == (CLOSED, OPEN, cause, why, 7.0)
    assert watched.breaker.admits(3).tolist() == [False] * 3
    assert watched.breaker.share == 0.0


def test_limits_that_are_not_stated_open_nothing():
    watched = Watched(BreakerSettings(errors=0.1))
    watched.breaker.note(100, guarded=100, late=100)
    assert watched.breaker.state is CLOSED
    assert watched.breaker.late_after_s is None


def test_a_decision_is_late_as_the_settings_say(watched):
    assert watched.breaker.late_after_s == 0.05


def test_nothing_is_concluded_from_a_few(watched):
    watched.breaker.note(19, errors=19)
    assert watched.breaker.state is CLOSED
    watched.breaker.note(1)
    assert watched.breaker.state is OPEN, "what came before counts once there are enough"


def test_what_is_long_past_is_forgotten(watched):
    watched.breaker.note(90)
    watched.breaker.note(10, errors=10)
    watched.breaker.note(100)
    assert watched.breaker.state is CLOSED
    watched.breaker.note(10, errors=10)
    assert watched.breaker.state is CLOSED, "10 of 110: the first 10 have left the window"


def test_it_stays_open_for_its_time(watched):
    watched.opened()
    watched.clock.now = 9.99
    assert not watched.breaker.admits(1000).any()
    watched.clock.now = 10.0
    assert watched.breaker.admits(1000).sum() == pytest.approx(50, abs=2)
    assert [told.cause for told in watched.told] == [BreakerCause.ERRORS, BreakerCause.WAITED]


def test_what_was_under_way_when_it_opened_changes_nothing(watched):
    watched.opened()
    watched.breaker.note(1000)
    watched.breaker.note(1000, errors=1000)
    assert len(watched.told) == 1


def test_the_ramp_is_climbed_stage_by_stage(watched):
    watched.half_opened()
    shares = []
    for _ in range(3):
        shares.append(watched.breaker.share)
        watched.serve(100, seconds=0.1)
    assert shares == [0.05, 0.25, 0.5]
    assert watched.breaker.state is CLOSED
    assert watched.breaker.admits(1) is None
    assert watched.told[-1].why == "100 healthy decisions in each of 3 stages, 30 s"
    assert [(told.before, told.after) for told in watched.told] == [*TRANSITIONS[:2], TRANSITIONS[3]]


def test_healthy_decisions_are_not_enough_without_time(watched):
    watched.half_opened()
    watched.serve(10_000, seconds=0.0)
    assert watched.breaker.share == 0.05
    watched.clock.now += 10.0
    watched.serve(1)
    assert watched.breaker.share == 0.25, "the first third of min_s is over"


def test_time_is_not_enough_without_healthy_decisions(watched):
    watched.half_opened()
    watched.serve(99)
    watched.clock.now += 1000.0
    watched.breaker.admits(1)
    assert watched.breaker.share == 0.05
    watched.breaker.note(1)
    assert watched.breaker.share == 0.25


def test_rows_that_the_guard_kept_are_no_sign_of_health(watched):
    watched.half_opened()
    watched.clock.now += 1000.0
    watched.breaker.note(100, guarded=40)
    assert watched.breaker.share == 0.05
    watched.breaker.note(40)
    assert watched.breaker.share == 0.25


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_stage_that_fails_opens_it_at_once(watched, stage):
    watched.half_opened()
    for _ in range(stage):
        watched.serve(100, seconds=0.1)
    watched.serve(10, errors=1)
    assert watched.breaker.state is HALF_OPEN, "10 of 100 are allowed"
    watched.serve(1, errors=1)
    assert watched.breaker.state is OPEN, "without waiting for the rest of the 100"
    assert watched.told[-1].why.startswith("11 of 100 decisions failed, the limit is 0.1, with 0.")
    watched.clock.now += 10.0
    watched.breaker.admits(1)
    assert watched.breaker.share == 0.05, "the ramp begins anew"


def test_the_window_begins_anew_once_closed_again(watched):
    watched.breaker.note(100, errors=10)
    watched.half_opened()
    watched.serve(300, seconds=0.1)
    watched.breaker.note(19, errors=19)
    assert watched.breaker.state is CLOSED


def test_no_rows_are_no_news(watched):
    watched.breaker.note(0)
    watched.half_opened().breaker.note(0)
    assert watched.breaker.share == 0.05


def test_a_listener_that_fails_stops_nothing(caplog):
    def broken(_):
        raise OSError("disk full")

    breaker = Breaker(SETTINGS, Clock(), broken)
    with caplog.at_level(logging.ERROR):
        breaker.note(100, errors=100)
    assert breaker.state is OPEN
    assert "could not be told" in caplog.text


def test_a_listener_may_ask_the_breaker():
    seen = []
    breaker = Breaker(SETTINGS, Clock(), lambda told: seen.append((told.after, breaker.state, breaker.share)))
    breaker.note(100, errors=100)
    assert seen == [(OPEN, OPEN, 0.0)]


def test_threads_lose_no_decision_and_share_out_the_ramp():
    """8 threads note errors and let rows through; it opens exactly once, and the share is kept."""
    settings = BreakerSettings(errors=0.5, window=100_000, least=80_000, open_s=5)
    watched = Watched(settings)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: [watched.breaker.note(1, errors=1) for _ in range(9_999)], range(8)))
        assert watched.breaker.state is CLOSED, "79992 are not enough"
        watched.breaker.note(8)
        assert watched.breaker.state is OPEN
        watched.clock.now = 5.0
        passed = sum(threads.map(lambda _: sum(map(_let_through, [watched] * 500)), range(8)))
        assert passed == pytest.approx(0.05 * 8 * 500 * 7, abs=4)
    assert [told.after for told in watched.told] == [OPEN, HALF_OPEN]


def _let_through(watched):
    return int(watched.breaker.admits(7).sum())
