"""Latch and return as state machines: their definitions, one episode at a time, with the test's own clock."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from steersman.bundle.specs import BoxAction, DiscreteAction
from steersman.bundle.validation import SettingsError, validated
from steersman.safety.bumpless import Return, ReturnSettings
from steersman.safety.errors import SafetyError
from steersman.safety.latch import Latch, LatchSettings
from unit.safety.episodes import Episodes
from unit.safety.strategies import contract_for

ROWS = 3
QUARTERS = st.integers(0, 8).map(lambda n: n / 4)
"""Seconds whose sums are exact."""
each = st.lists(st.booleans(), min_size=ROWS, max_size=ROWS).map(np.array)


class LatchMachine(RuleBasedStateMachine):
    """`since[i]` is None where episode i is free, else healthy steps and seconds since its last fault."""

    @initialize(healthy=st.integers(1, 3), min_s=QUARTERS)
    def begin(self, healthy, min_s):
        self.latch = Latch(LatchSettings(healthy=healthy, min_s=min_s))
        self.episodes = Episodes(self.latch.fields(), ROWS)
        self.since = [None] * ROWS

    @rule(elapsed=QUARTERS, sound=each, fails_after=each, busy=each)
    def step(self, elapsed, sound, fails_after, busy):
        """One step: the guard passes `sound` rows, the model fails on some, a few fall back for overload."""
        memory = self.episodes.step(elapsed)
        held = self.latch.holds(memory, sound)
        assert held.tolist() == [bool(sound[i]) and self._is_held(i, elapsed) for i in range(ROWS)]
        healthy = sound & ~(fails_after & ~held)
        fell = ~healthy | held | busy
        self.latch.update(memory, fell, healthy)
        self.episodes.keep(memory)
        for i in range(ROWS):
            self.since[i] = self._after(i, bool(healthy[i]), bool(held[i]), elapsed)

    @rule(elapsed=QUARTERS, row=st.integers(0, ROWS - 1))
    def error(self, elapsed, row):
        """A row fails without any answer: that begins no latch and ends none."""
        memory = self.episodes.step(elapsed)
        healthy = np.arange(ROWS) != row
        held = self.latch.holds(memory, healthy)
        self.latch.update(memory, held, healthy)
        self.episodes.keep(memory)
        for i in range(ROWS):
            was = self.since[i]
            if i == row:
                self.since[i] = None if was is None else (0, 0.0)
            else:
                self.since[i] = self._after(i, True, bool(held[i]), elapsed)

    @rule(row=st.integers(0, ROWS - 1))
    def forget(self, row):
        self.episodes.forget(row)
        self.since[row] = None

    def _is_held(self, row, elapsed):
        if self.since[row] is None:
            return False
        steps, seconds = self.since[row]
        limits = self.latch.settings
        return steps < limits.healthy or seconds + elapsed < limits.min_s

    def _after(self, row, healthy, held, elapsed):
        if not healthy:
            return (0, 0.0)
        steps, seconds = self.since[row] or (0, 0.0)
        return (steps + 1, seconds + elapsed) if held else None


class ReturnMachine(RuleBasedStateMachine):
    """The policy wants one action, the fallback gives another; what leaves goes over gradually."""

    @initialize(
        way=st.sampled_from([{"blend_s": 1.0}, {"max_rate_per_s": 0.5}]),
        dtype=st.sampled_from(["float32", "float64"]),
    )
    def begin(self, way, dtype):
        action = BoxAction(shape=(2,), low=(-2.0, -2.0), high=(2.0, 2.0), dtype=dtype)
        self.returning = Return.compile(ReturnSettings(**way), contract_for(action))
        self.episodes = Episodes(self.returning.fields(), ROWS, (2,), dtype)
        self.origin = [None] * ROWS  # the fallback's last action, and seconds since
        self.known = False

    @rule(
        elapsed=QUARTERS,
        fell=each,
        wanted=st.lists(st.floats(-2, 2, width=32), min_size=2 * ROWS, max_size=2 * ROWS),
        offered=st.lists(st.floats(-2, 2, width=32), min_size=2 * ROWS, max_size=2 * ROWS),
    )
    def step(self, elapsed, fell, wanted, offered):
        dtype = self.episodes.previous.dtype
        wanted, offered = (np.array(x, dtype).reshape(ROWS, 2) for x in (wanted, offered))
        memory = self.episodes.step(elapsed)
        limited, changed = self.returning.limit(memory, wanted)
        assert limited.dtype == dtype
        assert changed.tolist() == (limited != wanted).any(axis=1).tolist()
        for i in range(ROWS):
            self._check(i, memory.previous[i], limited[i], wanted[i], elapsed)
        actions = np.where(fell[:, None], offered, limited)
        self.returning.update(memory, fell, changed)
        self.episodes.keep(memory, actions)
        for i in range(ROWS):
            self._advance(i, bool(fell[i]), bool(changed[i]), offered[i], elapsed)

    def _check(self, row, previous, limited, wanted, elapsed):
        if self.origin[row] is None:
            assert (limited == wanted).all()
            return
        origin, seconds = self.origin[row]
        blend_s, rate = self.returning.settings.blend_s, self.returning.settings.max_rate_per_s
        if blend_s is not None:
            share = min((seconds + elapsed) / blend_s, 1.0)
            assert limited == pytest.approx((1 - share) * origin + share * wanted, abs=1e-6)
            assert ((limited >= np.minimum(origin, wanted)) & (limited <= np.maximum(origin, wanted))).all()
        else:
            assert limited == pytest.approx(
                previous + np.clip(wanted - previous, -rate * elapsed, rate * elapsed), abs=1e-6
            )

    def _advance(self, row, fell, changed, offered, elapsed):
        if fell:
            self.origin[row] = (offered.astype(np.float64), 0.0)
        elif self.origin[row] is not None:
            origin, seconds = self.origin[row]
            blend_s = self.returning.settings.blend_s
            goes_on = changed if blend_s is None else seconds + elapsed < blend_s
            self.origin[row] = (origin, seconds + elapsed) if goes_on else None

    @rule(row=st.integers(0, ROWS - 1))
    def forget(self, row):
        self.episodes.forget(row)
        self.origin[row] = None


for machine in (LatchMachine, ReturnMachine):
    machine.TestCase.settings = settings(deadline=None, max_examples=40, stateful_step_count=25)
TestLatch = LatchMachine.TestCase
TestReturn = ReturnMachine.TestCase


def run(latch, healthy, elapsed=1.0):
    """Rows held on each step of one episode that falls where it is not healthy."""
    episodes, held = Episodes(latch.fields(), 1), []
    for sound in healthy:
        memory, rows = episodes.step(elapsed), np.array([sound])
        held.append(bool(latch.holds(memory, rows)[0]))
        latch.update(memory, ~rows | held[-1], rows)
        episodes.keep(memory)
    return held


def test_after_a_fault_the_policy_waits_for_so_many_healthy_steps():
    held = run(Latch(LatchSettings(healthy=2)), [True, False, True, True, True, True])
    assert held == [False, False, True, True, False, False]


def test_a_fault_while_it_waits_begins_anew():
    held = run(Latch(LatchSettings(healthy=2)), [False, True, False, True, True, True])
    assert held == [False, True, False, True, True, False]


def test_after_a_fault_the_policy_waits_for_so_long():
    held = run(Latch(LatchSettings(min_s=1.0)), [False, True, True, True, True], elapsed=0.3)
    assert held == [False, True, True, True, False]


def test_where_no_time_is_known_only_steps_count():
    assert run(Latch(LatchSettings(healthy=1)), [False, True, True], elapsed=np.nan) == [False, True, False]


def test_a_blend_ends_at_the_policys_own_action_bit_for_bit():
    action = BoxAction(shape=(), low=(-1.0,), high=(1.0,))
    back = Return.compile(ReturnSettings(blend_s=0.5), contract_for(action))
    episodes = Episodes(back.fields(), 1)
    memory = episodes.step(0.0)
    back.update(memory, np.array([True]), np.array([False]))
    episodes.keep(memory, np.array([-1.0], np.float32))
    given = []
    for _ in range(4):
        memory = episodes.step(0.2)
        limited, changed = back.limit(memory, np.array([0.1], np.float32))
        back.update(memory, np.array([False]), changed)
        episodes.keep(memory, limited)
        given.append(limited[0])
    assert given[:2] == pytest.approx([-0.56, -0.12], abs=1e-6)
    assert given[2:] == [np.float32(0.1)] * 2
    assert not episodes.step(0.2).cells["return.active"].any()


def test_a_failed_models_action_raises_no_alarm_on_the_way():
    action = BoxAction(shape=(2,), low=(-1.0,) * 2, high=(1.0,) * 2)
    back = Return.compile(ReturnSettings(blend_s=0.5), contract_for(action))
    episodes = Episodes(back.fields(), 1, (2,))
    memory = episodes.step(0.0)
    back.update(memory, np.array([True]), np.array([False]))
    episodes.keep(memory)
    limited, _ = back.limit(episodes.step(0.0), np.array([[np.nan, np.inf]], np.float32))
    assert not np.isfinite(limited).all()


@pytest.mark.parametrize(
    "action", [DiscreteAction(n=3), BoxAction(shape=(), low=(0,), high=(9,), dtype="int32")]
)
def test_choices_cannot_return_gradually(action):
    with pytest.raises(SafetyError, match="return: there is nothing between two"):
        Return.compile(ReturnSettings(blend_s=1.0), contract_for(action))


@pytest.mark.parametrize(
    ("model", "data", "line"),
    [
        (ReturnSettings, {}, "d.yaml: return needs blend_s or max_rate_per_s, one of the two"),
        (
            ReturnSettings,
            {"blend_s": 1, "max_rate_per_s": 1},
            "d.yaml: return needs blend_s or max_rate_per_s, one of the two",
        ),
        (ReturnSettings, {"blend_s": 0}, "d.yaml: blend_s: got 0; expected greater than 0"),
        (
            LatchSettings,
            {"healty": 3},
            "d.yaml: healty: unknown field; expected one of healthy, min_s. Did you mean healthy?",
        ),
        (LatchSettings, {"min_s": -1}, "d.yaml: min_s: got -1; expected greater than or equal to 0"),
    ],
)
def test_each_mistake_has_its_line(model, data, line):
    with pytest.raises(SettingsError) as error:
        validated(model, data, where="d.yaml")
    assert str(error.value) == line
