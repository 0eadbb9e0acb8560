"""The rows that wait for one shadow lane: which ones it sees, and how many may wait for how long."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Mode
from steersman.serving.deciding.batch import Columns, join
from steersman.serving.deciding.runtime import LaneRuntime
from steersman.serving.deciding.work import Work
from steersman.serving.dispatching.batching import make_plan
from steersman.serving.rollout.deployment import BatchingSettings, ShadowSettings
from steersman.serving.shadowing.cpu_budget import CpuBudget

Array = NDArray[Any]

LONGEST_WAIT_S = 1.0
"""What waits longer is dropped."""
LINGER_S = 0.02
"""Rows wait so long for company: a batch costs little more than a row, and takes turns with those who answer
calls but once."""
MOST_WAITING_ROWS = 4096
MOST_WAITING_BYTES = 32 * 1024 * 1024
BATCH_ROWS = (64, 32, 8)
"""Rows of a batch: the first that the model is quick enough for, else 1."""
MOST_BATCH_S = 10e-3
_SEEN, _UNSEEN = np.array([True]), np.array([False])


@dataclass(slots=True)
class Offer:
    """Answered rows that a shadow is to decide, too. N rows; nobody writes to the arrays.

    Attributes:
        columns: What came in, without what is known of episodes.
        mode: Greedy or sampled.
        ids: [N, 16] decision ids.
        actions: [N, *action shape] as answered.
        sources: [N] codes of `Source` as answered.
        offered_s: When.
        begun: Rows, from the first, that a batch has taken.
    """

    columns: Columns
    mode: Mode
    ids: NDArray[np.uint8]
    actions: Array
    sources: NDArray[np.int8]
    offered_s: float
    begun: int = 0

    @property
    def left(self) -> int:
        """Rows that no batch has taken."""
        return self.columns.rows - self.begun

    def part(self, start: int, end: int) -> Offer:
        """Rows `start` to `end`, as views."""
        if end - start == self.columns.rows:
            return self
        rows, columns = slice(start, end), self.columns
        cut = Columns(
            observations={name: array[rows] for name, array in columns.observations.items()},
            action_mask=None if columns.action_mask is None else columns.action_mask[rows],
            rows=end - start,
            starts=None if columns.starts is None else columns.starts[rows],
        )
        return Offer(cut, self.mode, self.ids[rows], self.actions[rows], self.sources[rows], self.offered_s)


def sample(
    work: Work, ids: NDArray[np.uint8], kept: NDArray[np.bool_] | None, share: float, now_s: float
) -> Offer | None:
    """The rows of a batch that a shadow sees; None where it sees none.

    A row's decision id says it: the first four bytes as a little-endian number, below `share` of 2^32. So a
    call that is repeated is seen again or not again, and who is seen stays so while the share grows.

    What came in is referred to, not copied: nobody changes a call, and the bytes of a request live on as long
    as arrays over them. An action belongs to its caller, who may clip it in place: it is copied.

    Args:
        work: Rows that have their actions.
        ids: [N, 16] decision ids.
        kept: [N], rows that this batch answers; None where it answers all.
        share: Share of the rows, 0 to 1.
        now_s: The time now.
    """
    columns, rows = work.columns, None
    seen = _seen(ids, share) if share < 1.0 else None
    if kept is not None:
        seen = kept if seen is None else seen & kept
    if seen is not None and (count := np.count_nonzero(seen)) < columns.rows:
        if not count:
            return None
        rows = seen.nonzero()[0]
    whole = Columns(columns.observations, columns.action_mask, columns.rows, columns.starts)
    if rows is None:
        return Offer(whole, work.mode, ids, work.actions.copy(), work.sources, now_s)
    return Offer(whole.take(rows), work.mode, ids[rows], work.actions[rows], work.sources[rows], now_s)


def _seen(ids: NDArray[np.uint8], share: float) -> NDArray[np.bool_]:
    """[N]: whether rows with these ids ([N, 16]) are among the share."""
    below = int(share * 2**32)
    if len(ids) == 1:  # the common case, and ten times as fast this way
        return _SEEN if int.from_bytes(ids[0, :4].tobytes(), "little") < below else _UNSEEN
    return ids.view("<u4")[:, 0] < below


class ShadowQueue:
    """A queue with a bound. Whoever calls it holds the lock that is over it.

    Args:
        lane: The shadow lane.
        settings: How much of what it sees, with how much time.
        now_s: The time now.
    """

    def __init__(self, lane: LaneRuntime, settings: ShadowSettings, now_s: float) -> None:
        self.lane = lane
        self.settings = settings
        self.budget = CpuBudget(settings.cpu, now_s)
        self.batch_rows = _batch_rows(lane)
        self._most_rows = _most_rows(lane)
        self._offers: deque[Offer] = deque()
        self._rows = 0
        self._dropped = 0

    def put(self, offer: Offer) -> None:
        """One more waits, or is dropped where there is no room. One that never has room is cut."""
        rows = offer.columns.rows
        fitting = rows if rows <= self._most_rows - self._rows else 0
        if not fitting and not self._rows:
            fitting = self._most_rows
        self._dropped += rows - fitting
        if fitting:
            self._offers.append(offer.part(0, fitting))
            self._rows += fitting

    def expire(self, now_s: float) -> None:
        """Drops what has waited for too long."""
        while self._offers and self.oldest_s + LONGEST_WAIT_S <= now_s:
            self._drop(self._offers.popleft())

    def clear(self) -> None:
        """Drops all."""
        while self._offers:
            self._drop(self._offers.popleft())

    def _drop(self, offer: Offer) -> None:
        self._rows -= offer.left
        self._dropped += offer.left

    def take_dropped(self) -> int:
        """Rows that were dropped since this was last asked."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    @property
    def oldest_s(self) -> float:
        """When the first that waits was offered; infinite where nothing waits."""
        return self._offers[0].offered_s if self._offers else float("inf")

    def is_ready(self, now_s: float) -> bool:
        """Whether a batch may begin."""
        enough = self._rows >= self.batch_rows or self.oldest_s + LINGER_S <= now_s
        return enough and self.budget.allows(now_s)

    def take(self) -> list[Offer]:
        """The next batch: the oldest rows, of one mode."""
        batch: list[Offer] = []
        room = self.batch_rows
        while room and self._offers and (not batch or self._offers[0].mode == batch[0].mode):
            first = self._offers[0]
            rows = min(room, first.left)
            batch.append(first.part(first.begun, first.begun + rows))
            first.begun += rows
            room -= rows
            self._rows -= rows
            if not first.left:
                self._offers.popleft()
        return batch


def joined(batch: Sequence[Offer]) -> Offer:
    """The rows of several offers of one mode, one after the other."""
    first = batch[0]
    if len(batch) == 1:
        return first
    return Offer(
        columns=join([offer.columns for offer in batch]),
        mode=first.mode,
        ids=np.concatenate([offer.ids for offer in batch]),
        actions=np.concatenate([offer.actions for offer in batch]),
        sources=np.concatenate([offer.sources for offer in batch]),
        offered_s=first.offered_s,
    )


def _batch_rows(lane: LaneRuntime) -> int:
    plan = make_plan(BatchingSettings(), lane.loaded.timings)
    return next((rows for rows in BATCH_ROWS if plan.seconds(rows) <= MOST_BATCH_S), 1)


def _most_rows(lane: LaneRuntime) -> int:
    """Rows that may wait, so that neither there are too many nor their observations too large."""
    of_a_row = sum(spec.size * np.dtype(spec.dtype).itemsize for spec in lane.contract.observations)
    return max(min(MOST_WAITING_ROWS, MOST_WAITING_BYTES // max(of_a_row, 1)), 1)
