"""The breaker: takes a policy version out of service that fails, is late or is not fit for what it is shown.

Each worker has one per version; they know nothing of one another, and a worker that is started anew begins
with closed ones. What the rows that are not let through get instead is the fallback chain's to say.

    closed --a limit is exceeded in the window--> open --open_s--> half-open, first stage of the ramp
    half-open --a limit is exceeded in the stage--> open
    half-open --healthy decisions and time--> the next stage; after the last one closed

A stage lasts until it has seen `healthy` healthy decisions and its part of `min_s` is over. It has failed as
soon as its bad decisions are more than the limit allows among `healthy`, whatever became of the others.
Time is looked at when rows come: without traffic nothing changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np

from steersman.safety.breaker_counts import Limits, Tally, Window
from steersman.safety.breaker_ramp import Turnstile
from steersman.safety.breaker_states import BreakerCause, BreakerState, Transition

if TYPE_CHECKING:
    from steersman.safety.breaker_settings import BreakerSettings
    from steersman.safety.columns import Rows

log = logging.getLogger(__name__)


class Breaker:
    """The breaker of one policy version. Of use from any thread.

    Args:
        settings: When it opens, and how it closes again.
        clock: Seconds that never go back, such as `time.monotonic`.
        tell: Told of each change of state, in order, while the breaker is locked: it must be quick. What it
            raises is logged.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_limits",
        "_lock",
        "_settings",
        "_since",
        "_stage",
        "_stage_tally",
        "_state",
        "_tell",
        "_turnstile",
        "_window",
        "late_after_s",
    )

    def __init__(
        self, settings: BreakerSettings, clock: Callable[[], float], tell: Callable[[Transition], None]
    ) -> None:
        self.late_after_s = settings.late.after_ms / 1e3 if settings.late else None
        """Seconds above which a decision is late; None where none is."""
        self._settings, self._clock, self._tell = settings, clock, tell
        self._limits = Limits(settings)
        self._lock = RLock()
        self._state = BreakerState.CLOSED
        self._since = 0.0
        self._window = Window(settings.window)
        self._turnstile = Turnstile()
        self._stage = 0
        self._stage_tally = Tally()

    @property
    def state(self) -> BreakerState:
        """The state as rows found it last."""
        return self._state

    @property
    def share(self) -> float:
        """Share of the rows that are let through, 0 to 1."""
        with self._lock:
            if self._state is BreakerState.HALF_OPEN:
                return self._settings.ramp[self._stage]
            return 1.0 if self._state is BreakerState.CLOSED else 0.0

    def admits(self, rows: int) -> Rows | None:
        """Which of the next `rows` rows the version may answer: [rows], or None for all of them."""
        if self._state is BreakerState.CLOSED:  # read without the lock: this is on the way of every batch
            return None
        with self._lock:
            self._look()
            return self._admitted(rows)

    def note(self, rows: int, errors: int = 0, guarded: int = 0, late: int = 0) -> None:
        """Takes in what became of rows that were let through. One row may be bad in several ways.

        Args:
            rows: How many there were; those that the guard kept from the model are among them.
            errors: How many the model failed.
            guarded: How many the guard kept from the model.
            late: How many took longer than `late_after_s`.
        """
        if not rows:
            return
        with self._lock:
            if self._state is BreakerState.CLOSED:
                self._window.add(rows, errors, guarded, late)
                if self._window.tainted:
                    self._watch()
            elif self._state is BreakerState.HALF_OPEN:
                self._judge(Tally(rows, errors, guarded, late))

    def _admitted(self, rows: int) -> Rows | None:
        if self._state is BreakerState.HALF_OPEN:
            return self._turnstile.admits(rows, self._settings.ramp[self._stage])
        return None if self._state is BreakerState.CLOSED else np.zeros(rows, np.bool_)

    def _watch(self) -> None:
        tally = self._window.tally
        if tally.rows < self._settings.least:
            return
        found = self._limits.exceeded(tally, tally.rows)
        if found:
            self._go(BreakerState.OPEN, *found)

    def _judge(self, batch: Tally) -> None:
        self._stage_tally = self._stage_tally.plus(batch)
        found = self._limits.exceeded(self._stage_tally, self._settings.healthy)
        if found:
            cause, why = found
            share = self._settings.ramp[self._stage]
            self._go(BreakerState.OPEN, cause, f"{why}, with {share:.3g} of the rows let through")
        else:
            self._look()

    def _look(self) -> None:
        """Goes on to where time and healthy decisions have led."""
        now = self._clock()
        if self._state is BreakerState.OPEN:
            if now - self._since >= self._settings.open_s:
                self._go(BreakerState.HALF_OPEN, BreakerCause.WAITED, f"open for {self._settings.open_s:g} s")
        elif self._state is BreakerState.HALF_OPEN and self._stage_is_done(now):
            self._stage += 1
            self._stage_tally = Tally()
            if self._stage == len(self._settings.ramp):
                self._go(BreakerState.CLOSED, BreakerCause.HEALTHY, self._said_healthy(now))

    def _stage_is_done(self, now: float) -> bool:
        settings = self._settings
        least_s = settings.min_s * (self._stage + 1) / len(settings.ramp)
        return self._stage_tally.healthy >= settings.healthy and now - self._since >= least_s

    def _said_healthy(self, now: float) -> str:
        settings, seconds = self._settings, now - self._since
        return f"{settings.healthy} healthy decisions in each of {len(settings.ramp)} stages, {seconds:.3g} s"

    def _go(self, state: BreakerState, cause: BreakerCause, why: str) -> None:
        now = self._clock()
        told = Transition(self._state, state, cause, why, now)
        self._since, self._stage, self._stage_tally = now, 0, Tally()
        self._window.clear()
        self._state = state
        try:
            self._tell(told)
        except Exception:
            log.exception("a breaker's change of state could not be told")
