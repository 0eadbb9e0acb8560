"""The breaker against a model of it that keeps everything that ever happened and computes anew each time."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from steersman.safety.breaker import Breaker
from steersman.safety.breaker_settings import BreakerSettings, LateSettings
from steersman.safety.breaker_states import TRANSITIONS, BreakerState

CLOSED, HALF_OPEN, OPEN = BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN
LIMITS = st.tuples(*[st.none() | st.integers(0, 99).map(lambda percent: percent / 100)] * 3).filter(
    lambda limits: any(limit is not None for limit in limits)
)
"""Of errors, late and guarded decisions."""


@st.composite
def made_settings(draw):
    errors, late, guarded = draw(LIMITS)
    window = draw(st.integers(1, 60))
    ramp = sorted(draw(st.sets(st.integers(1, 100), min_size=1, max_size=4)))
    return BreakerSettings(
        errors=errors,
        late=None if late is None else LateSettings(after_ms=1, rate=late),
        guarded=guarded,
        window=window,
        least=draw(st.integers(1, window)),
        open_s=draw(st.integers(0, 20)),
        ramp=tuple(percent / 100 for percent in ramp),
        healthy=draw(st.integers(1, 30)),
        min_s=draw(st.integers(0, 40)),
    )


@st.composite
def made_batches(draw):
    rows = draw(st.integers(1, 40))
    bad = st.just(0) | st.integers(0, rows)
    return rows, draw(bad), draw(bad), draw(bad)


class BreakerModel:
    """What the breaker should do. Batches are (rows, errors, guarded, late); shares are exact."""

    def __init__(self, made: BreakerSettings) -> None:
        self.made = made
        stated = (made.errors, made.guarded, made.late and made.late.rate)
        self.limits = [None if limit is None else Fraction(str(limit)) for limit in stated]
        self.now = 0
        self.state, self.since, self.stage, self.batches = CLOSED, 0, 0, []
        self.changes = []

    def go(self, state):
        self.changes.append((self.state, state))
        self.state, self.since, self.stage, self.batches = state, self.now, 0, []

    def bad(self, batches, least):
        rows = max(sum(batch[0] for batch in batches), least)
        return any(
            limit is not None and Fraction(sum(batch[field] for batch in batches), rows) > limit
            for field, limit in enumerate(self.limits, start=1)
        )

    def in_window(self):
        for start in range(len(self.batches), -1, -1):
            if sum(batch[0] for batch in self.batches[start:]) >= self.made.window:
                return self.batches[start:]
        return self.batches

    def look(self):
        if self.state is OPEN and self.now - self.since >= self.made.open_s:
            self.go(HALF_OPEN)
        elif self.state is HALF_OPEN:
            rows, *bad = map(sum, zip((0, 0, 0, 0), *self.batches, strict=True))
            healthy = max(rows - sum(bad), 0)
            waited = (self.now - self.since) * len(self.made.ramp) >= self.made.min_s * (self.stage + 1)
            if healthy >= self.made.healthy and waited:
                self.stage, self.batches = self.stage + 1, []
                if self.stage == len(self.made.ramp):
                    self.go(CLOSED)

    def note(self, batch):
        if self.state is CLOSED:
            self.batches.append(batch)
            window = self.in_window()
            if sum(each[0] for each in window) >= self.made.least and self.bad(window, 1):
                self.go(OPEN)
        elif self.state is HALF_OPEN:
            self.batches.append(batch)
            if self.bad(self.batches, self.made.healthy):
                self.go(OPEN)
            else:
                self.look()


class BreakerMachine(RuleBasedStateMachine):
    @initialize(made=made_settings())
    def begin(self, made):
        self.model, self.told = BreakerModel(made), []
        self.breaker = Breaker(made, lambda: float(self.model.now), self.told.append)

    @rule(batch=made_batches(), times=st.integers(1, 3))
    def note(self, batch, times):
        for _ in range(times):
            self.breaker.note(*batch)
            self.model.note(batch)

    @rule(rows=st.integers(1, 40))
    def note_good_ones(self, rows):
        self.note((rows, 0, 0, 0), 1)

    @rule(seconds=st.integers(0, 25))
    def wait(self, seconds):
        self.model.now += seconds

    @rule(rows=st.integers(0, 50))
    def ask(self, rows):
        admitted = self.breaker.admits(rows)
        if self.model.state is not CLOSED:
            self.model.look()
        if self.model.state is CLOSED:
            assert admitted is None
        else:
            assert admitted.shape == (rows,)
            assert self.model.state is HALF_OPEN or not admitted.any()

    @precondition(lambda self: self.model.state is HALF_OPEN)
    @rule()
    def the_share_is_kept(self):
        before = self.model.stage, self.model.state
        self.model.look()
        admitted = self.breaker.admits(400)
        if (self.model.stage, self.model.state) == before:
            assert abs(admitted.sum() - 400 * self.model.made.ramp[self.model.stage]) < 8

    @invariant()
    def it_does_as_the_model(self):
        assert self.breaker.state is self.model.state
        half_open = self.model.state is HALF_OPEN
        share = self.model.made.ramp[self.model.stage] if half_open else float(self.model.state is CLOSED)
        assert self.breaker.share == share
        assert [(told.before, told.after) for told in self.told] == self.model.changes

    @invariant()
    def only_known_changes_happen(self):
        assert {(told.before, told.after) for told in self.told} <= set(TRANSITIONS)
        assert all(told.why for told in self.told)
        times = [told.at for told in self.told]
        assert times == sorted(times)


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
