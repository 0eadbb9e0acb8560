"""Breaker, latch and orders together, through the engine and against a model of them, with a clock."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from steersman.monitoring.blocks import BREAKER_STATES, BREAKER_TRANSITIONS
from steersman.safety.breaker import Breaker
from steersman.serving.decision import Decisions, Reason, Source
from support.episode_kit import named
from support.safety_kit import LEFT, NAN, Episodes, SafetyKit, raises, reason, source, told

CHAIN = {"fallback": [{"constant": 2}]}
RAMPED = {
    "errors": 0.2,
    "window": 10,
    "least": 5,
    "open_s": 10,
    "ramp": [0.25, 0.5],
    "healthy": 10,
    "min_s": 4,
}
STRICT = {"errors": 0, "window": 1, "least": 1, "open_s": 5, "ramp": [1.0], "healthy": 3, "min_s": 2}
LATCH = {"healthy": 2, "min_s": 1.0}


def breaker(kit: SafetyKit, lane: str = "stable") -> Breaker:
    lanes = kit.engine.routing.ready("toy").lanes
    found = next(each for each in lanes if each.lane == lane).breaker
    assert found is not None
    return found


def by_policy(decisions: Decisions) -> int:
    return int(np.count_nonzero(decisions.sources == list(Source).index(Source.POLICY)))


def transitions(kit: SafetyKit, lane: str = "stable") -> dict[tuple[str, str], int]:
    counts = kit.counts(lane).breaker_transitions.tolist()
    return {change: count for change, count in zip(BREAKER_TRANSITIONS, counts, strict=True) if count}


def state(kit: SafetyKit, lane: str = "stable") -> str:
    """As metrics show it."""
    counts = kit.counts(lane).breaker_states.tolist()
    (shown,) = [name for name, count in zip(BREAKER_STATES, counts, strict=True) if count]
    assert shown == str(breaker(kit, lane).state)
    return shown


def test_a_breaker_opens_ramps_and_closes(safety_root: Path) -> None:
    kit = SafetyKit(safety_root, {**CHAIN, "breaker": RAMPED})
    rows = [LEFT] * 40
    with kit.model(raises):
        kit.ask(rows[:4])
        assert state(kit) == "closed", "nothing is concluded of so few"
        assert {reason(kit.ask(LEFT))} == {Reason.MODEL_ERROR}
        assert state(kit) == "open"
        assert {reason(kit.ask(LEFT))} == {Reason.BREAKER_OPEN}
    kit.now += 9.9
    assert by_policy(kit.ask(rows)) == 0
    kit.now += 0.1
    first = by_policy(kit.ask(rows))
    assert (abs(first - 10) <= 2, state(kit)) == (True, "half_open")
    assert abs(by_policy(kit.ask(rows)) - 10) <= 2, "healthy enough, but not for long enough"
    kit.now += 2
    kit.ask(rows)
    assert abs(by_policy(kit.ask(rows)) - 20) <= 2
    kit.now += 2
    kit.ask(rows)
    assert (by_policy(kit.ask(rows)), state(kit)) == (40, "closed")
    assert transitions(kit) == {("closed", "open"): 1, ("open", "half_open"): 1, ("half_open", "closed"): 1}


def test_a_stage_that_fails_opens_it_again(safety_root: Path) -> None:
    kit = SafetyKit(safety_root, {**CHAIN, "breaker": RAMPED})
    with kit.model(raises):
        kit.ask([LEFT] * 5)
        kit.now += 10
        kit.ask([LEFT] * 40)
    assert state(kit) == "open"
    assert transitions(kit)["half_open", "open"] == 1


def test_rows_that_the_guard_keeps_back_open_it(safety_root: Path) -> None:
    kit = SafetyKit(safety_root, {**CHAIN, "breaker": {"guarded": 0.5, "window": 4, "least": 4}})
    kit.ask([NAN, NAN, LEFT, LEFT])
    assert state(kit) == "closed"
    kit.ask([NAN, NAN, NAN, LEFT])
    assert state(kit) == "open"


def test_late_decisions_open_it(safety_root: Path) -> None:
    late = {"after_ms": 1e-6, "rate": 0.5}  # a millionth of what any takes
    kit = SafetyKit(safety_root, {**CHAIN, "breaker": {"late": late, "window": 3, "least": 3}})
    assert [source(kit.ask(LEFT)) for _ in range(4)] == [*[Source.POLICY] * 3, Source.FALLBACK]


def test_callers_cannot_open_it(safety_root: Path) -> None:
    """Forged tokens, masks that forbid everything and overload are no fault of the version."""
    kit = SafetyKit(safety_root, {**CHAIN, "breaker": {"errors": 0, "window": 1, "least": 1}})
    kit.ask(LEFT, [[False] * 3])
    kit.ask(LEFT, refused=Reason.OVERLOAD)
    kit.ask(LEFT, episode_ids=["e"], episode_tokens=[b"forged"])
    assert state(kit) == "closed"


def test_a_canary_has_a_breaker_of_its_own(safety_root: Path) -> None:
    lanes = {"stable": {"version": 1}, "canary": {"version": 2, "share": 0.25}, "control": {"share": 0.25}}
    safety = {**CHAIN, "breaker": {"errors": 0, "window": 1, "least": 1}}
    kit = SafetyKit(safety_root, safety, lanes=lanes)
    episodes = kit.episodes(*named("stable"), *named("canary"), *named("control"))
    with kit.model(raises, "canary"):
        episodes.step(LEFT)
    decisions = episodes.step(LEFT)
    assert [reason(decisions, row) for row in range(3)] == [Reason.NONE, Reason.BREAKER_OPEN, Reason.NONE]
    assert [state(kit, lane) for lane in ("stable", "canary", "control")] == ["closed", "open", "closed"]
    assert breaker(kit) is breaker(kit, "control"), "they are of one version"


def test_a_breaker_outlives_changes_beside_it(safety_root: Path) -> None:
    safety = {**CHAIN, "breaker": {"errors": 0, "window": 1, "least": 1}}
    kit = SafetyKit(safety_root, safety)
    with kit.model(raises):
        kit.ask(LEFT)
    kit.protect({**safety, "fallback": [{"constant": 1}]})
    assert told(kit.ask(LEFT)) == (Source.FALLBACK, Reason.BREAKER_OPEN, 1)
    kit.protect(CHAIN)
    assert source(kit.ask(LEFT)) is Source.POLICY
    assert kit.counts().breaker_states.sum() == 0


@dataclass
class Course:
    """What an episode's latch should remember."""

    fault_at: float | None = None
    good: int = 0

    def step(self, now: float, *, healthy: bool) -> bool:
        """Whether a healthy row is held all the same."""
        if not healthy:
            self.fault_at, self.good = now, 0
            return False
        if self.fault_at is None:
            return False
        if self.good >= LATCH["healthy"] and now - self.fault_at >= LATCH["min_s"]:
            self.fault_at = None
            return False
        self.good += 1
        return True


@dataclass
class Fuse:
    """What the breaker of `STRICT` should do, row by row."""

    state: str = "closed"
    since: float = 0.0
    good: int = 0

    def _go(self, state: str, now: float) -> None:
        self.state, self.since, self.good = state, now, 0

    def admits(self, now: float) -> bool:
        if self.state == "open" and now - self.since >= STRICT["open_s"]:
            self._go("half_open", now)
        elif self.state == "half_open":
            self._close(now)
        return self.state != "open"

    def note(self, now: float, *, good: bool, failed: bool) -> None:
        if failed:
            self._go("open", now)
        elif self.state == "half_open":
            self.good += good
            self._close(now)

    def _close(self, now: float) -> None:
        if self.good >= STRICT["healthy"] and now - self.since >= STRICT["min_s"]:
            self._go("closed", now)


NAMES = ("a", "b")


class Machine(RuleBasedStateMachine):
    """Three episodes, a model that may fail, and people who order."""

    kit: ClassVar[SafetyKit]

    @initialize()
    def begin(self) -> None:
        self.kit.protect(CHAIN)  # lets the breaker go
        self.kit.protect({**CHAIN, "breaker": STRICT, "latch": LATCH})
        self.fuse, self.courses = Fuse(), {name: Course() for name in NAMES}
        self.episodes: dict[str, Episodes] = {name: self.kit.episodes(name) for name in NAMES}
        self.orders: dict[str, tuple[str, float]] = {}
        self.killed, self.lease_until = False, float("inf")
        self._obey()

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.5, 6.0]))
    def wait(self, seconds: float) -> None:
        self.kit.now += seconds

    @rule(killed=st.booleans())
    def kill(self, killed: bool) -> None:
        self.killed = killed
        self._obey()

    @rule(seconds=st.sampled_from([1.0, 4.0, float("inf")]))
    def beat(self, seconds: float) -> None:
        self.lease_until = self.kit.now + seconds
        self._obey()

    @rule(kind=st.sampled_from(["pin", "fallback", ""]), name=st.sampled_from(NAMES))
    def order(self, kind: str, name: str) -> None:
        self.orders.pop(name, None)
        if kind:
            self.orders[name] = (kind, self.kit.now + 3.0)
        self._obey()

    def _obey(self) -> None:
        kit = self.kit
        found = [
            kit.order(
                kind,
                id=name,
                episode_id=name,
                seconds=until - kit.now,
                **({"action": 1} if kind == "pin" else {}),
            )
            for name, (kind, until) in self.orders.items()
        ]
        lease = None if self.lease_until == float("inf") else self.lease_until
        kit.command(*found, killed=self.killed, lease_until_s=lease)

    @rule(
        name=st.sampled_from(NAMES),
        observation=st.sampled_from([LEFT, LEFT, LEFT, NAN]),
        fails=st.sampled_from([False, False, False, True]),
    )
    def step(self, name: str, observation: Any, fails: bool) -> None:
        expected = self._expected(name, seen=observation is LEFT, fails=fails)
        with self.kit.model(raises) if fails else nullcontext():
            decisions = self.episodes[name].step(observation)
        assert told(decisions) == expected

    def _expected(self, name: str, *, seen: bool, fails: bool) -> tuple[Source, Reason, int]:
        now, order = self.kit.now, self._ordered(name)
        admitted = self.fuse.admits(now)
        is_free = order in {Reason.NONE, Reason.OVERRIDE_PINNED}
        failed = is_free and seen and admitted and fails
        healthy = seen and not failed
        held = self.courses[name].step(now, healthy=healthy)
        if order is Reason.NONE and admitted:
            self.fuse.note(now, good=healthy, failed=failed)
        if order is Reason.OVERRIDE_PINNED:
            return Source.OVERRIDE, order, 1
        causes = (
            (not is_free, order),
            (not seen, Reason.OBSERVATION_NON_FINITE),
            (not admitted, Reason.BREAKER_OPEN),
            (failed, Reason.MODEL_ERROR),
            (held, Reason.LATCHED),
        )
        for applies, why in causes:
            if applies:
                return Source.FALLBACK, why, 2
        return Source.POLICY, Reason.NONE, 0

    def _ordered(self, name: str) -> Reason:
        kind, until = self.orders.get(name, ("", 0.0))
        if self.killed:
            return Reason.KILL_SWITCH
        if self.kit.now >= self.lease_until:
            return Reason.LEASE_EXPIRED
        if not kind or self.kit.now >= until:
            return Reason.NONE
        return Reason.OVERRIDE_PINNED if kind == "pin" else Reason.OVERRIDE_FALLBACK

    @invariant()
    def the_breaker_is_as_it_should_be(self) -> None:
        if hasattr(self, "fuse"):
            assert state(self.kit) == self.fuse.state


@contextmanager
def quiet() -> Iterator[None]:
    """Models that fail on purpose are not logged a thousand times."""
    log = logging.getLogger("steersman")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def test_breaker_latch_and_orders_do_as_their_model(safety_root: Path) -> None:
    class Bound(Machine):
        kit = SafetyKit(safety_root, CHAIN)

    with quiet():
        run_state_machine_as_test(
            Bound, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
        )
