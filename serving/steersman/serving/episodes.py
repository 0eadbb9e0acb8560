"""Episodes of rows: which lane decides each row of a call, with which state, and the token it answers with.

A row goes, in this order: to the version that its call asks for; to where its token says; to the lane that
its episode id is assigned to; and, without an episode id, to the stable lane. A token whose version is no
longer there does not fail the row: the episode is cut, which its reason says, and begins anew elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.serving.batch import ASSIGNED_BY, Columns, EpisodeRow
from steersman.serving.call import Call
from steersman.serving.decision import REASON_CODE, Reason
from steersman.serving.rollout.assignment import bucket
from steersman.serving.rollout.tokens import EpisodeToken, TokenCodec, episode_hash
from steersman.serving.routing import PolicyRuntime
from steersman.serving.runtime import LaneRuntime

Array = NDArray[Any]

_BY = {name: code for code, name in enumerate(ASSIGNED_BY)}
_CUT = REASON_CODE[Reason.EPISODE_CUT]
_STATE_MISSING = REASON_CODE[Reason.EPISODE_STATE_MISSING]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a call that one lane decides; `rows` are their places in the call, None for all of them."""

    lane: LaneRuntime
    columns: Columns
    rows: NDArray[np.intp] | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """One row as its call describes it; `step` is -1 and `start` None where it does not say."""

    episode_id: str
    token: bytes
    step: int
    start: bool | None


class EpisodeKeeper:
    """Places rows and issues tokens.

    Args:
        codec: Signs and reads tokens.
        ttl_s: Seconds that a token is good for.
        clock: Unix seconds.
    """

    def __init__(self, codec: TokenCodec, ttl_s: float, clock: Callable[[], float] = time.time) -> None:
        self._codec = codec
        self._ttl_s = ttl_s
        self._clock = clock

    def place(self, policy: PolicyRuntime, call: Call, columns: Columns) -> list[Part]:
        """The parts of a call, by lane.

        Raises:
            CallError: The version asked for is not served here.
        """
        pinned = policy.asked_for(call.version, call.version_label)
        if not (call.episode_ids or call.episode_tokens or policy.recurrent):
            columns.assigned = _BY["none"] if pinned is None else _BY["request"]
            return [Part(pinned or policy.stable, columns)]
        now_s = self._clock()
        placed = [self._place(policy, asked, pinned, now_s) for asked in _rows(call, columns.rows)]
        columns.episodes = [row for _, row in placed]
        lanes = [lane for lane, _ in placed]
        if all(lane is lanes[0] for lane in lanes):
            return [Part(lanes[0], columns)]
        return _parts(lanes, columns)

    def _place(
        self, policy: PolicyRuntime, asked: _Asked, pinned: LaneRuntime | None, now_s: float
    ) -> tuple[LaneRuntime, EpisodeRow]:
        wanted = bool(asked.episode_id) or policy.recurrent
        episode = episode_hash(policy.name, asked.episode_id) if wanted or asked.token else b""
        if asked.token and not asked.start:
            return self._go_on(policy, asked, pinned, episode, now_s)
        lane, row = _begin(policy, asked.episode_id, episode, pinned)
        lost = policy.recurrent and (asked.step > 0 or asked.start is False)
        return lane, row._replace(step=max(asked.step, 0), reason=_STATE_MISSING if lost else 0)

    def _go_on(
        self,
        policy: PolicyRuntime,
        asked: _Asked,
        pinned: LaneRuntime | None,
        episode: bytes,
        now_s: float,
    ) -> tuple[LaneRuntime, EpisodeRow]:
        token = self._codec.read(asked.token, now_s=now_s)
        if isinstance(token, EpisodeToken) and not _fits(token, episode, asked.step):
            token = Reason.EPISODE_TOKEN_MISMATCH
        if isinstance(token, Reason):
            return policy.stable, EpisodeRow(reason=REASON_CODE[token], failed=True)
        lane = policy.of_token(token.bundle, token.lane)
        if lane is None or (pinned is not None and pinned.bundle != lane.bundle):
            other, row = _begin(policy, asked.episode_id, episode, pinned)
            return other, row._replace(step=token.step, by=_BY["cut"], reason=_CUT)
        return pinned or lane, EpisodeRow(episode, token.step, token.share, _BY["token"], token.state)

    def issue(
        self, lane: LaneRuntime, rows: Sequence[EpisodeRow], actions: Array, states: Array | None
    ) -> list[bytes]:
        """The token of each row after its decision; empty where it gets none.

        Args:
            lane: Where the rows were decided.
            rows: [N] as they came.
            actions: [N, *action shape].
            states: [N, state bytes] uint8 after this step; None where there is no state.
        """
        now_s = self._clock()
        expires, decided = int(now_s + self._ttl_s), int(now_s * 1e9)
        flat = np.ascontiguousarray(actions).reshape(len(rows), -1).view(np.uint8)
        tokens = []
        for i, row in enumerate(rows):
            if not row.episode:
                tokens.append(b"")
                continue
            state = b"" if states is None else states[i].tobytes()
            fields = (lane.hash, row.episode, lane.bundle, row.step + 1, expires, decided, row.share)
            tokens.append(self._codec.sign(EpisodeToken(*fields, flat[i].tobytes(), state)))
        return tokens


def _begin(
    policy: PolicyRuntime, episode_id: str, episode: bytes, pinned: LaneRuntime | None
) -> tuple[LaneRuntime, EpisodeRow]:
    """Where an episode begins that has no token, or no more."""
    if pinned is not None:
        return pinned, EpisodeRow(episode, by=_BY["request"])
    if not episode_id:
        return policy.stable, EpisodeRow(episode, by=_BY["none"])
    lane = policy.stable if policy.undivided else policy.of_bucket(bucket(policy.rollout_id, episode_id))
    return lane, EpisodeRow(episode, share=policy.share_of(lane), by=_BY["episode"])


def _fits(token: EpisodeToken, episode: bytes, step: int) -> bool:
    return token.episode == episode and step in {-1, token.step}


def _rows(call: Call, rows: int) -> list[_Asked]:
    ids: Sequence[str] = call.episode_ids or [""] * rows
    tokens: Sequence[bytes] = call.episode_tokens or [b""] * rows
    steps: Sequence[int] = call.steps or [-1] * rows
    starts: Sequence[bool | None] = call.episode_starts or [None] * rows
    return [_Asked(*row) for row in zip(ids, tokens, steps, starts, strict=True)]


def _parts(lanes: Sequence[LaneRuntime], columns: Columns) -> list[Part]:
    places: dict[int, list[int]] = {}
    for row, lane in enumerate(lanes):
        places.setdefault(id(lane), []).append(row)
    parts = []
    for rows in places.values():
        index = np.array(rows, np.intp)
        parts.append(Part(lanes[rows[0]], columns.take(index), index))
    return parts
