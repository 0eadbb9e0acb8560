"""What a client remembers of its episodes: the actions that callers got, and what constraints ask for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ActionSpec
from steersman.safety.columns import Array, Rows, all_true
from steersman.safety.memory import Memory, MemoryLayout
from steersman.safety.safeguards import AT

MOST_EPISODES = 4096
"""Episodes that are remembered; the one unused for longest is forgotten, and then counts as not known."""
NOWHERE = 0
"""The slot of rows whose episode is not remembered; nothing is ever written there."""


class EpisodeSlots:
    """The memory of many episodes of one policy, in columns. Not for several threads at once.

    Args:
        layout: What is remembered of each.
        action: The action space.
        most: Episodes that are remembered; a batch of more is remembered whole.
    """

    def __init__(self, layout: MemoryLayout, action: ActionSpec, most: int = MOST_EPISODES) -> None:
        self._layout = layout
        self._shape, self._dtype = action.shape, np.dtype(action.dtype)
        self._most = most
        self._slots: dict[str, int] = {}
        self._names = [""]
        self._free: list[int] = []
        self._tick = 0
        self._cells = layout.blank(1)
        self._previous: NDArray[Any] = np.zeros((1, *self._shape), self._dtype)
        self._used = np.zeros(1, np.int64)
        self._alone: Rows = np.zeros(1, np.bool_)

    def __len__(self) -> int:
        return len(self._slots)

    def recall(self, episodes: Sequence[str] | None, starts: Rows | None, rows: int, now_s: float) -> Memory:
        """What is remembered of N rows.

        Args:
            episodes: The episode of each; None where no row has one.
            starts: [N], rows that begin theirs, so that what was before is not theirs; None for nowhere.
                Where no server answered the step before, the server did not see the episode begin, and it
                is one and the same.
            rows: N.
            now_s: Seconds, on the clock that is used throughout.
        """
        slots = self._find(episodes, rows)
        known: Rows = slots != NOWHERE
        if starts is not None:
            known &= ~starts | self._alone[slots]
        cells, previous = self._cells[slots], self._previous[slots]
        if not all_true(known):
            cells[~known] = self._layout.blank(1)[0]
            previous[~known] = 0
        elapsed = np.where(known, np.maximum(now_s - cells[AT], 0.0), np.nan)
        return Memory(known, np.full(rows, now_s), elapsed, previous, cells)

    def store(
        self, episodes: Sequence[str] | None, memory: Memory, actions: Array, handed: Rows, *, alone: bool
    ) -> None:
        """Remembers a step.

        Args:
            episodes: As for `recall`.
            memory: Of N rows, with what the next step shall find.
            actions: [N, *shape], what callers get.
            handed: [N], rows that get an action; of others nothing has happened.
            alone: Whether no server knows of it.
        """
        if episodes is None:
            return
        self._tick += 1
        slots = self._find(episodes, len(handed))
        self._used[slots[handed]] = self._tick  # none of these makes room for another
        for row in np.flatnonzero(handed & (slots == NOWHERE)).tolist():
            if episodes[row]:
                slots[row] = self._new(episodes[row])
        rows = np.flatnonzero(handed & (slots != NOWHERE))
        where = slots[rows]
        self._cells[where] = memory.cells[rows]
        self._previous[where] = actions[rows]
        self._used[where] = self._tick
        self._alone[where] = alone

    def forget(self, episode: str) -> None:
        """The episode has ended, or begins anew."""
        slot = self._slots.pop(episode, None)
        if slot is not None:
            self._names[slot] = ""
            self._free.append(slot)

    def _find(self, episodes: Sequence[str] | None, rows: int) -> NDArray[np.intp]:
        if episodes is None:
            return np.full(rows, NOWHERE, np.intp)
        return np.fromiter(map(self._slots.get, episodes, repeat(NOWHERE)), np.intp, rows)

    def _new(self, episode: str) -> int:
        """A slot for another episode."""
        if not self._free and len(self._slots) >= self._most:
            oldest = 1 + int(np.argmin(self._used[1:]))
            if self._used[oldest] < self._tick:
                self.forget(self._names[oldest])
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._slots[episode] = slot
        self._names[slot] = episode
        self._used[slot] = self._tick
        return slot

    def _grow(self) -> None:
        """Twice as many slots."""
        count = len(self._used)
        self._cells = np.concatenate([self._cells, self._layout.blank(count)])
        self._previous = np.concatenate([self._previous, np.zeros_like(self._previous)])
        self._used = np.concatenate([self._used, np.zeros_like(self._used)])
        self._alone = np.concatenate([self._alone, np.zeros_like(self._alone)])
        self._names += [""] * count
        self._free += range(2 * count - 1, count - 1, -1)
