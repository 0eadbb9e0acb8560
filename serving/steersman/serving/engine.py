"""The decision core: one synchronous `decide` over the calls that wait, free of transports.

Calls are checked, grouped by lane and mode, and each group goes through the pipeline as one batch of
columns. Owned by one thread; `swap` replaces the routing table, which `decide` reads once.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Mode
from steersman.serving.batch import Columns, join
from steersman.serving.call import Call
from steersman.serving.decision import Decisions
from steersman.serving.errors import CallError, Code
from steersman.serving.pipeline import decide_group
from steersman.serving.routing import RoutingTable
from steersman.serving.runtime import LaneRuntime

log = logging.getLogger(__name__)
ID_BYTES = 16
DEFAULT_MAX_ROWS = 4096
_NO_EVIDENCE: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Group:
    """Calls of one lane and mode that are decided as one batch, with their places in the list of calls."""

    lane: LaneRuntime
    mode: Mode
    places: list[int] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    parts: list[Columns] = field(default_factory=list)


class Engine:
    """Decides calls.

    Args:
        salt: Secret of at least 8 bytes that noise and the ids of keyed calls are made from.
        max_rows: Most rows that one call may have.
    """

    def __init__(self, salt: bytes, max_rows: int = DEFAULT_MAX_ROWS) -> None:
        self._salt = salt
        self._max_rows = max_rows
        self.routing = RoutingTable()

    def swap(self, routing: RoutingTable) -> None:
        """Uses another routing table from the next `decide` on."""
        self.routing = routing

    def decide(self, calls: Sequence[Call]) -> list[Decisions | CallError]:
        """The decisions of each call, or the error that it met, in the order of the calls."""
        routing = self.routing
        outcomes: list[Decisions | CallError | None] = [None] * len(calls)
        groups: dict[tuple[str, str, Mode], _Group] = {}
        for place, call in enumerate(calls):
            try:
                lane = routing.resolve(call.policy, call.version)
                columns = lane.loaded.checker.check(call, self._max_rows)
            except CallError as error:
                outcomes[place] = error
                continue
            group = groups.setdefault((call.policy, lane.lane, call.mode), _Group(lane, call.mode))
            group.places.append(place)
            group.calls.append(call)
            group.parts.append(columns)
        for group in groups.values():
            for place, outcome in zip(group.places, self._outcomes(group), strict=True):
                outcomes[place] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def _outcomes(self, group: _Group) -> Sequence[Decisions | CallError]:
        """A defect that one group meets must not reach the calls of another."""
        try:
            return self._decide_group(group)
        except Exception:
            log.exception("defect while deciding", extra={"policy": group.calls[0].policy})
            message = "internal error; the server's log has the details"
            return [CallError(Code.INTERNAL, "internal", message)] * len(group.calls)

    def _decide_group(self, group: _Group) -> list[Decisions]:
        started = perf_counter_ns()
        evidence = _NO_EVIDENCE.union(*(call.evidence for call in group.calls))
        columns = join(group.parts)
        ids = self._decision_ids(group, columns.rows)
        decisions = decide_group(
            group.lane, columns, mode=group.mode, evidence=evidence, ids=ids, salt=self._salt
        )
        ended = perf_counter_ns()
        for call, part in zip(group.calls, group.parts, strict=True):
            arrived = call.arrived_ns or started
            group.lane.recorder.record_latency("queue", (started - arrived) * 1e-9, part.rows)
            group.lane.recorder.record_latency("total", (ended - arrived) * 1e-9, part.rows)
        return _split(decisions, group)

    def _decision_ids(self, group: _Group, rows: int) -> NDArray[np.uint8]:
        """[rows, 16]: random, or from the row's idempotency key, so that a repeated call is the same."""
        ids = np.frombuffer(bytearray(os.urandom(ID_BYTES * rows)), np.uint8).reshape(rows, ID_BYTES)
        start = 0
        for call, part in zip(group.calls, group.parts, strict=True):
            for row, key in enumerate(call.idempotency_keys):
                if key:
                    ids[start + row] = self._keyed_id(call, row)
            start += part.rows
        return ids

    def _keyed_id(self, call: Call, row: int) -> NDArray[np.uint8]:
        """[16]: the same for the same key, policy and episode, and for no other."""
        episode = call.episode_ids[row] if call.episode_ids else ""
        parts = (call.policy.encode(), episode.encode(), bytes(call.idempotency_keys[row]))
        framed = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
        digest = hashlib.blake2b(framed, digest_size=ID_BYTES, key=self._salt, person=b"decision-id")
        return np.frombuffer(digest.digest(), np.uint8)


def _split(decisions: Decisions, group: _Group) -> list[Decisions]:
    """The group's decisions call by call, each with the evidence that it asked for."""
    if len(group.calls) == 1:
        return [decisions]
    parts = []
    start = 0
    for call, columns in zip(group.calls, group.parts, strict=True):
        parts.append(decisions.rows(start, start + columns.rows, call.evidence))
        start += columns.rows
    return parts
