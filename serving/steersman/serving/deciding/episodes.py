"""Episodes of rows: which lane decides each row of a call, with which state, and the token it answers with.

A row goes, in this order: to the version that its call asks for; to where its token says; to the lane that
its episode id is assigned to; and, without an episode id, to the stable lane. A token whose version is no
longer there, or is not the one asked for, does not fail the row: the episode is cut, which its reason says,
and begins anew elsewhere. A row that begins its episode needs no token, and one that it has is not read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steersman.safety.overrides import PolicyCommands
from steersman.serving.deciding.batch import ASSIGNED_BY, Columns, EpisodeRow
from steersman.serving.deciding.call import Call
from steersman.serving.deciding.routing import PolicyRuntime
from steersman.serving.deciding.runtime import LaneRuntime
from steersman.serving.decision import REASON_CODE, Reason
from steersman.serving.rollout.tokens import EpisodeToken, TokenCodec, episode_hash

Array = NDArray[Any]

_BY = {name: code for code, name in enumerate(ASSIGNED_BY)}
_CUT = REASON_CODE[Reason.EPISODE_CUT]
_STATE_MISSING = REASON_CODE[Reason.EPISODE_STATE_MISSING]


@dataclass(slots=True, eq=False)  # not frozen: one is made for every call
class Part:
    """Rows of a call that one lane decides; `rows` are their places in the call, None for all of them."""

    lane: LaneRuntime
    columns: Columns
    rows: NDArray[np.intp] | None = None


class _Asked(NamedTuple):
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

    @property
    def now_s(self) -> float:
        """Unix seconds."""
        return self._clock()

    def place(
        self, policy: PolicyRuntime, call: Call, columns: Columns, commands: PolicyCommands | None = None
    ) -> list[Part]:
        """The parts of a call, by lane.

        Args:
            policy: The policy.
            call: The call.
            columns: Its rows; how they found their lanes is written down there.
            commands: What people ordered for the policy; None for nothing.

        Raises:
            CallError: The version asked for is not served here.
        """
        pinned = policy.asked_for(call.version, call.version_label)
        usual = pinned or policy.stable
        if not (call.episode_ids or call.episode_tokens or usual.recurrent):
            columns.assigned = _BY["none"] if pinned is None else _BY["request"]
            if commands is not None:
                usual = _frozen(policy, usual, EpisodeRow(), commands, self._clock())[0]
            return [Part(usual, columns)]
        now_s = self._clock()
        placed = [self._place(policy, asked, pinned, now_s) for asked in _rows(call, columns.rows)]
        if commands is not None:
            placed = [_frozen(policy, lane, row, commands, now_s) for lane, row in placed]
        columns.episodes = [row for _, row in placed]
        lanes = [lane for lane, _ in placed]
        if all(lane is lanes[0] for lane in lanes):
            return [Part(lanes[0], columns)]
        return _parts(lanes, columns)

    def _place(
        self, policy: PolicyRuntime, asked: _Asked, pinned: LaneRuntime | None, now_s: float
    ) -> tuple[LaneRuntime, EpisodeRow]:
        if asked.token and not asked.start:
            return self._go_on(policy, asked, pinned, now_s)
        reason = _STATE_MISSING if asked.start is False else 0
        return _begin(policy, asked.episode_id, pinned, step=max(asked.step, 0), reason=reason)

    def _go_on(
        self, policy: PolicyRuntime, asked: _Asked, pinned: LaneRuntime | None, now_s: float
    ) -> tuple[LaneRuntime, EpisodeRow]:
        token = self._codec.read(asked.token, now_s=now_s)
        if isinstance(token, EpisodeToken) and not _fits(token, policy.name, asked):
            token = Reason.EPISODE_TOKEN_MISMATCH
        if isinstance(token, Reason):
            row = EpisodeRow(by=_BY["token"], reason=REASON_CODE[token], failed=True)
            return pinned or policy.stable, row
        lane = policy.of_token(token.bundle, token.lane)
        if lane is None or (pinned is not None and pinned.bundle != lane.bundle):
            return _begin(policy, asked.episode_id, pinned, step=token.step, reason=_CUT)
        return lane, EpisodeRow(
            token.episode,
            token.step,
            token.share,
            _BY["token"],
            token.state,
            action=token.action,
            memory=token.extra,
        )

    def issue(
        self,
        lane: LaneRuntime,
        rows: Sequence[EpisodeRow],
        actions: Array,
        states: Array | None,
        memories: Sequence[bytes] | None = None,
    ) -> list[bytes]:
        """The token of each row after its decision; empty where it gets none.

        Args:
            lane: Where the rows were decided.
            rows: [N] as they came.
            actions: [N, *action shape].
            states: [N, state bytes] uint8 after this step; None where there is no state.
            memories: [N] what safety shall find at the next step; None where it remembers nothing.
        """
        now_s = self._clock()
        expires, decided = int(now_s + self._ttl_s), int(now_s * 1e9)
        nothing = [b""] * len(rows)
        actions_of, states_of = _cells(actions), nothing if states is None else _cells(states)
        tokens = []
        for row, action, state, memory in zip(rows, actions_of, states_of, memories or nothing, strict=True):
            if row.episode:
                fields = (lane.hash, row.episode, lane.bundle, row.step + 1, expires, decided, row.share)
                tokens.append(self._codec.sign(EpisodeToken(*fields, action, state, memory)))
            else:
                tokens.append(b"")
        return tokens


def _frozen(
    policy: PolicyRuntime, lane: LaneRuntime, row: EpisodeRow, commands: PolicyCommands, now_s: float
) -> tuple[LaneRuntime, EpisodeRow]:
    """Where a row goes that a person froze to a version. The recurrent state of another is no use there."""
    version = commands.version(lane.lane, row.episode, int(now_s * 1e9))
    other = policy.of_version(version) if version and version != lane.version else None
    if other is None or row.failed:
        return lane, row
    cut = row.reason or (_CUT if row.state else 0)
    return other, row._replace(by=_BY["request"], share=1.0, state=b"", reason=cut)


def _begin(
    policy: PolicyRuntime, episode_id: str, pinned: LaneRuntime | None, *, step: int, reason: int
) -> tuple[LaneRuntime, EpisodeRow]:
    """Where an episode begins that has no token, or none that helps; `reason` says why in mid-episode."""
    share = 1.0
    if pinned is not None:
        lane, by = pinned, "request"
    elif not episode_id:
        lane, by = policy.stable, "none"
    else:
        lane, by = policy.of_episode(episode_id), "episode"
        share = policy.share_of(lane)
    if reason == _CUT and pinned is None:
        by = "cut"
    if reason == _STATE_MISSING and not lane.recurrent:
        reason = 0
    named = episode_id or lane.recurrent
    episode = episode_hash(policy.name, episode_id) if named else b""
    return lane, EpisodeRow(episode, step, share, _BY[by], reason=reason)


def _fits(token: EpisodeToken, policy: str, asked: _Asked) -> bool:
    """Whether the token is this episode's, at this step."""
    return asked.step in {-1, token.step} and token.episode == episode_hash(policy, asked.episode_id)


def _rows(call: Call, rows: int) -> list[_Asked]:
    ids: Sequence[str] = call.episode_ids or [""] * rows
    tokens: Sequence[bytes] = call.episode_tokens or [b""] * rows
    steps: Sequence[int] = call.steps or [-1] * rows
    starts: Sequence[bool | None] = call.episode_starts or [step == 0 for step in call.steps] or [None] * rows
    return list(map(_Asked, ids, tokens, steps, starts))


def _cells(rows: Array) -> list[bytes]:
    """The bytes of each row."""
    data, size = rows.tobytes(), rows.nbytes // len(rows)
    return [data[start : start + size] for start in range(0, len(data), size)]


def _parts(lanes: Sequence[LaneRuntime], columns: Columns) -> list[Part]:
    places: dict[int, list[int]] = {}
    for row, lane in enumerate(lanes):
        places.setdefault(id(lane), []).append(row)
    parts = []
    for rows in places.values():
        index = np.array(rows, np.intp)
        parts.append(Part(lanes[rows[0]], columns.take(index), index))
    return parts
