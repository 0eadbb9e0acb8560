"""The decision core: one synchronous `decide` over the calls that wait, free of transports.

Calls are checked, their rows are placed in lanes, and each group of rows of one lane and mode goes through
the pipeline as one batch of columns. `decide` may be called from several threads: it reads the routing table
once, which `swap` replaces as a whole, and only counting is done one thread at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Mode
from steersman.safety.overrides import FREE_REIN, Commands, Deciding, Orders, PolicyCommands
from steersman.serving.deciding.admitting import tell_breaker
from steersman.serving.deciding.batch import Columns, EpisodeRow, join
from steersman.serving.deciding.call import Call
from steersman.serving.deciding.conclusion import conclude, next_state, record
from steersman.serving.deciding.decision_ids import DecisionIds
from steersman.serving.deciding.episodes import EpisodeKeeper, Part
from steersman.serving.deciding.parts import gather
from steersman.serving.deciding.pipeline import decide_rows
from steersman.serving.deciding.remembering import remember
from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.deciding.runtime import LaneRuntime
from steersman.serving.deciding.work import Terms, Work
from steersman.serving.decision import Decisions, Reason
from steersman.serving.errors import CallError, Code
from steersman.serving.shadowing.shadow import ShadowRunner

log = logging.getLogger(__name__)
DEFAULT_MAX_ROWS = 4096
_NO_EVIDENCE: frozenset[str] = frozenset()
Outcome = Decisions | CallError
Claim = Callable[[Sequence[Call]], Sequence[bool]]
"""Says of each call whether it is still this decision's to answer."""


@dataclass(slots=True)
class _Group:
    """Rows of one lane and mode that are decided as one batch, by call: its place, itself, its part."""

    lane: LaneRuntime
    mode: Mode
    refused: Reason
    shadow: LaneRuntime | None
    commands: PolicyCommands | None
    places: list[int] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def add(self, place: int, call: Call, part: Part) -> None:
        self.places.append(place)
        self.calls.append(call)
        self.parts.append(part)

    @property
    def rows(self) -> list[int]:
        """Rows of each part."""
        return [part.columns.rows for part in self.parts]


@dataclass(slots=True)
class Decided:
    """What was decided, and what is left to do once the callers have it.

    Attributes:
        outcomes: In the order of the calls.
    """

    outcomes: list[Outcome]
    _settling: Sequence[Callable[[], None]]

    def settle(self) -> None:
        """Counts the decisions, and offers them to shadows. Once; a defect is logged, for all is answered."""
        for settle in self._settling:
            try:
                settle()
            except Exception:
                log.exception("defect while counting decisions")


class Engine:
    """Decides calls.

    Args:
        salt: Secret of at least 8 bytes that noise and the ids of keyed calls are made from.
        episodes: Places rows and issues episode tokens.
        max_rows: Most rows that one call may have.
        shadows: Runs the shadow lanes; left out, on a thread of their own.
    """

    def __init__(
        self,
        salt: bytes,
        episodes: EpisodeKeeper,
        max_rows: int = DEFAULT_MAX_ROWS,
        shadows: ShadowRunner | None = None,
    ) -> None:
        self._salt = salt
        self._ids = DecisionIds(salt)
        self._episodes = episodes
        self._max_rows = max_rows
        self._counting = Lock()
        self._shadows = shadows or ShadowRunner(salt)
        self.routing = RoutingTable()
        self.commands = FREE_REIN

    def swap(self, routing: RoutingTable) -> None:
        """Uses another routing table from the next `decide` on."""
        self._shadows.follow(routing)
        self.routing = routing

    def obey(self, commands: Commands) -> None:
        """Follows other commands of people from the next `decide` on."""
        self.commands = commands

    def close(self) -> None:
        """Ends the shadows; what waits for them is dropped."""
        self._shadows.close()

    def decide(self, calls: Sequence[Call], claim: Claim | None = None) -> list[Outcome]:
        """The decisions of each call, or the error that it met, in the order of the calls.

        Args:
            calls: The calls.
            claim: Asked once the model has run which of these calls are still to be answered; what was
                answered by somebody else meanwhile is not counted. None where all are.
        """
        decided = self.begin(calls, claim)
        decided.settle()
        return decided.outcomes

    def begin(self, calls: Sequence[Call], claim: Claim | None = None) -> Decided:
        """As `decide`, but leaves the counting to `Decided.settle`, so that callers need not wait for it."""
        settling: list[Callable[[], None]] = []
        return Decided(self._outcomes_of(calls, claim, settling), settling)

    def _outcomes_of(
        self, calls: Sequence[Call], claim: Claim | None, settling: list[Callable[[], None]]
    ) -> list[Outcome]:
        routing, commands = self.routing, self.commands
        outcomes: list[Outcome | None] = [None] * len(calls)
        groups: dict[tuple[int, Mode, Reason], _Group] = {}
        for place, call in enumerate(calls):
            try:
                policy = routing.ready(call.policy)
                columns = policy.checker.check(call, self._max_rows)
                ordered = None if commands.idle else commands.of(policy.name)
                parts = self._episodes.place(policy, call, columns, ordered)
            except CallError as error:
                outcomes[place] = error
                continue
            except Exception as error:  # noqa: BLE001  it must not reach the calls beside it
                outcomes[place] = _defect("defect while placing a call", call, error)
                continue
            for part in parts:
                key = (id(part.lane), call.mode, call.refused)
                if key not in groups:
                    groups[key] = _Group(part.lane, call.mode, call.refused, policy.shadow, ordered)
                groups[key].add(place, call, part)
        divided: dict[int, list[tuple[NDArray[np.intp], Outcome]]] = {}
        for group in groups.values():
            for place, part, outcome in zip(
                group.places, group.parts, self._outcomes(group, claim, settling), strict=True
            ):
                if part.rows is None:
                    outcomes[place] = outcome
                else:
                    divided.setdefault(place, []).append((part.rows, outcome))
        for place, pieces in divided.items():
            outcomes[place] = _whole(pieces)
        return [outcome for outcome in outcomes if outcome is not None]

    def _outcomes(
        self, group: _Group, claim: Claim | None, settling: list[Callable[[], None]]
    ) -> Sequence[Outcome]:
        """A defect that one group meets must not reach the calls of another."""
        try:
            return self._decide_group(group, claim, settling)
        except Exception as error:  # noqa: BLE001  likewise
            return [_defect("defect while deciding", group.calls[0], error)] * len(group.calls)

    def _decide_group(
        self, group: _Group, claim: Claim | None, settling: list[Callable[[], None]]
    ) -> list[Decisions]:
        started = perf_counter_ns()
        evidence = _NO_EVIDENCE.union(*(call.evidence for call in group.calls))
        columns = join([part.columns for part in group.parts])
        ids = self._decision_ids(group, columns.rows)
        now_s = self._episodes.now_s
        orders = _orders(group, columns, now_s)
        terms = Terms(group.mode, ids, self._salt, evidence, now_s, orders, group.refused)
        work = decide_rows(group.lane, columns, terms)
        kept = None if claim is None else np.repeat(claim(group.calls), group.rows)
        decisions = conclude(work, evidence, ids)
        if columns.episodes is not None:
            decisions.episode_tokens = self._episodes.issue(
                group.lane, _tokened(work), decisions.actions, next_state(work), remember(work)
            )
        settling.append(partial(self._settle, group, work, ids, kept, (started, perf_counter_ns())))
        return _split(decisions, group)

    def _settle(
        self,
        group: _Group,
        work: Work,
        ids: NDArray[np.uint8],
        kept: NDArray[np.bool_] | None,
        times: tuple[int, int],
    ) -> None:
        """Tells the breaker, counts, and lets the shadow see it."""
        tell_breaker(work, (times[1] - times[0]) * 1e-9)
        with self._counting:
            record(work, kept)
            _record_times(group, work, kept, *times)
        if group.shadow is not None:
            self._shadows.offer(group.shadow, work, ids, kept)

    def _decision_ids(self, group: _Group, rows: int) -> NDArray[np.uint8]:
        """[rows, 16]: random, or from the row's idempotency key, so that a repeated call is the same."""
        ids = self._ids.random(rows)
        if not any(call.idempotency_keys for call in group.calls):
            return ids
        start = 0
        for call, part in zip(group.calls, group.parts, strict=True):
            if call.idempotency_keys:
                for i, row in enumerate(
                    range(part.columns.rows) if part.rows is None else part.rows.tolist()
                ):
                    if call.idempotency_keys[row]:
                        ids[start + i] = self._ids.keyed(call, row)
            start += part.columns.rows
        return ids


def _orders(group: _Group, columns: Columns, now_s: float) -> Orders | None:
    """What people ordered for the rows of a group."""
    if group.commands is None:
        return None
    lane = group.lane
    deciding = Deciding(lane.lane, lane.version, lane.contract.action)
    episodes = None if columns.episodes is None else [row.episode for row in columns.episodes]
    return group.commands.orders(deciding, columns.rows, episodes, int(now_s * 1e9))


def _record_times(
    group: _Group, work: Work, kept: NDArray[np.bool_] | None, started: int, ended: int
) -> None:
    recorder = group.lane.recorder
    if kept is None and len(group.calls) == 1:
        arrived = group.calls[0].arrived_ns or started
        recorder.record_latency("queue", (started - arrived) * 1e-9, work.columns.rows)
        recorder.record_latency("total", (ended - arrived) * 1e-9, work.columns.rows)
        return
    arrived_ns = np.repeat([call.arrived_ns or started for call in group.calls], group.rows)
    if kept is not None:
        arrived_ns = arrived_ns[kept]
    recorder.record_latencies("queue", (started - arrived_ns) * 1e-9)
    recorder.record_latencies("total", (ended - arrived_ns) * 1e-9)


def _defect(what: str, call: Call, error: Exception) -> CallError:
    """Logs a defect; the caller learns no more than that there was one."""
    log.error(what, exc_info=error, extra={"policy": call.policy[:64]})
    return CallError(Code.INTERNAL, "internal", "internal error; the server's log has the details")


def _tokened(work: Work) -> list[EpisodeRow]:
    """The rows as tokens are made of them: those that failed get none."""
    episodes = work.columns.episodes or []
    if work.clean:
        return episodes
    return [EpisodeRow() if failed else row for row, failed in zip(episodes, work.failed, strict=True)]


def _whole(pieces: Sequence[tuple[NDArray[np.intp], Outcome]]) -> Outcome:
    """The outcome of a call from those of its parts; an error of one fails the call."""
    decided = []
    for rows, outcome in pieces:
        if isinstance(outcome, CallError):
            return outcome
        decided.append((rows, outcome))
    return gather(decided)


def _split(decisions: Decisions, group: _Group) -> list[Decisions]:
    """The group's decisions part by part, each with the evidence that its call asked for."""
    if len(group.calls) == 1:
        return [decisions]
    found = []
    start = 0
    for call, part in zip(group.calls, group.parts, strict=True):
        found.append(decisions.rows(start, start + part.columns.rows, call.evidence))
        start += part.columns.rows
    return found
