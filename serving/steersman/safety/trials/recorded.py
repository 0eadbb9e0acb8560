"""Recorded rows, held against guard, masks and constraints: which would have been ruled out, and by what.

Rows that say which episode they belong to are gone through step by step, so that rates, dwell times, budgets
and stuck sensors are judged with what came before. Rows that do not stand each by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steersman.safety.columns import Array, Features, Observations, Rows
from steersman.safety.guard_settings import GUARD_REASONS
from steersman.safety.masks import Mask, permits
from steersman.safety.memory import Memory, MemoryLayout
from steersman.safety.trials.subject import Subject


@dataclass(frozen=True, slots=True)
class Recorded:
    """N recorded rows.

    Attributes:
        features: [N, F].
        observations: [N, *shape] under each input name.
        actions: [N, *shape], or None where none were recorded.
        masks: [N, W], or None.
        episodes: [N] int, which episode each row is a step of, in order of time; None where it is not known.
        times_s: [N], Unix seconds or any other clock's; None where it is not known.
    """

    features: Features
    observations: Observations
    actions: Array | None = None
    masks: Mask | None = None
    episodes: NDArray[np.int64] | None = None
    times_s: NDArray[np.float64] | None = None

    @property
    def rows(self) -> int:
        """N."""
        return len(self.features)


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found of N rows.

    Attributes:
        guarded: [N] int8, positions in `GUARD_REASONS`; 0 for rows that the guard lets through.
        masked: [N] bool, rows whose action the mask forbids or the action space does not have.
        margins: [K, N], how far each action is from violating each constraint; negative where it does, NaN
            where the constraint does not apply or no action was recorded.
        assumed: Rows on which a constraint went on from a value that the deployment declares.
    """

    guarded: NDArray[np.int8]
    masked: Rows
    margins: NDArray[np.float64]
    assumed: int

    def violated(self) -> NDArray[np.bool_]:
        """[K, N], which row violates which constraint."""
        with np.errstate(invalid="ignore"):
            return self.margins < 0

    def ruled_out(self) -> Rows:
        """[N], rows that the guard, the mask or a constraint is against."""
        against: Rows = (self.guarded > 0) | self.masked | self.violated().any(axis=0)
        return against

    def counts(self, names: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
        """Kind, name and number of rows of everything that ruled a row out."""
        for code, reason in enumerate(GUARD_REASONS):
            if code and (found := int((self.guarded == code).sum())):
                yield "guard", reason.value, found
        if masked := int(self.masked.sum()):
            yield "mask", "action_masked", masked
        for name, rows in zip(names, self.violated(), strict=True):
            if found := int(rows.sum()):
                yield "constraint", name, found


def judge(subject: Subject, recorded: Recorded) -> Judged:
    """What the subject's guard, masks and constraints say of recorded rows."""
    work = _Judging(subject, recorded)
    if recorded.episodes is None:
        work.step(np.arange(recorded.rows), None)
    else:
        for rows, memory in work.steps(recorded.episodes):
            work.step(rows, memory)
    return Judged(work.guarded, work.masked, work.margins, work.assumed)


class _Judging:
    """Recorded rows on their way."""

    def __init__(self, subject: Subject, recorded: Recorded) -> None:
        constraints = subject.constraints
        self._subject = subject
        self._recorded = recorded
        self._layout = MemoryLayout(
            {**subject.guard.fields(), **(constraints.fields() if constraints is not None else {})}
        )
        self.guarded = np.zeros(recorded.rows, np.int8)
        self.masked: Rows = np.zeros(recorded.rows, np.bool_)
        self.margins = np.full((len(constraints.names) if constraints else 0, recorded.rows), np.nan)
        self.assumed = 0

    def steps(self, episodes: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.intp], Memory]]:
        """The first rows of all episodes, then the second, and so on, with what is remembered of them."""
        order = np.argsort(episodes, kind="stable")
        _, first, lengths = np.unique(episodes[order], return_index=True, return_counts=True)
        cells = self._layout.blank(len(first))
        for step in range(int(lengths.max(initial=0))):
            live = lengths > step
            rows = order[first[live] + step]
            memory = self._memory(rows, order[first[live] + step - 1] if step else None, cells[live])
            yield rows, memory
            cells[live] = memory.cells

    def step(self, rows: NDArray[np.intp], memory: Memory | None) -> None:
        """Judges rows, and writes what the next step of their episodes has to know."""
        recorded, subject = self._recorded, self._subject
        features = recorded.features[rows]
        observations = {name: tensor[rows] for name, tensor in recorded.observations.items()}
        ages = np.zeros(len(rows))  # how old observations were is not recorded
        self.guarded[rows] = subject.guard.check(observations, features, memory, ages).codes
        if recorded.actions is not None:
            self._judge_actions(rows, features, recorded.actions[rows], memory)
        if memory is not None:
            subject.guard.update(memory, features)

    def _judge_actions(
        self, rows: NDArray[np.intp], features: Features, actions: Array, memory: Memory | None
    ) -> None:
        masks = None if self._recorded.masks is None else self._recorded.masks[rows]
        there = permits(masks, actions, self._subject.contract.action)
        self.masked[rows] = ~there
        if self._subject.constraints is None:
            return
        bound = self._subject.constraints.bind(features, memory, len(rows))
        possible = permits(None, actions, self._subject.contract.action)
        safe = np.where(possible.reshape(-1, *[1] * (actions.ndim - 1)), actions, self._example(actions))
        margins = bound.margins(safe)
        margins[:, ~possible] = np.nan
        self.margins[:, rows] = margins
        self.assumed += bound.assumed
        if memory is not None:
            self._subject.constraints.update(memory, safe, possible)

    def _example(self, actions: Array) -> Array:
        """An action that there is, to stand in for what is none."""
        start = getattr(self._subject.contract.action, "start", 0)
        return np.full_like(actions, start)

    def _memory(
        self, rows: NDArray[np.intp], before: NDArray[np.intp] | None, cells: NDArray[np.void]
    ) -> Memory:
        times, actions = self._recorded.times_s, self._recorded.actions
        now = np.zeros(len(rows)) if times is None else times[rows]
        known = np.full(len(rows), before is not None)
        elapsed = np.full(len(rows), np.nan)
        if before is not None and times is not None:
            elapsed = np.maximum(now - times[before], 0.0)
        action = self._subject.contract.action
        previous = np.zeros((len(rows), *action.shape), action.dtype)
        if before is not None and actions is not None:
            previous = actions[before]
        return Memory(known, now, elapsed, previous, cells)
