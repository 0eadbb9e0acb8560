"""The calls that came over the native transport together, and the way back for their outcomes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steersman.serving.deciding.call import Call
from steersman.serving.dispatching.dispatcher import Outcome
from steersman.serving.errors import CallError, Code
from steersman.serving.rpc.methods import DecisionMethod, defect
from steersman.serving.rpc.reception import Reception
from steersman.serving.rpc.status import RESERVED, STATUS, trailing_metadata

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

_NUMBERS: Mapping[Code, int] = {code: status.value[0] for code, status in STATUS.items()}
log = logging.getLogger(__name__)
Entry = tuple[int, DecisionMethod, Any, int]
"""Of a call: its id, its method, its request as that decoded it, its bytes."""
Counts = dict[tuple[str, Code | None], int]
"""Calls by method and failure. A plain dictionary is a tenth of the cost of a `Counter`."""


class NativeBatch:
    """A batch, which is the sink of its outcomes. Each call is answered once: who takes its entry answers it.

    Args:
        front: Where answers go.
        reception: Decides and counts.
        cancelled: Ids of calls whose callers gave up; this batch takes its own out.
    """

    def __init__(self, front: NativeGrpcFront, reception: Reception, cancelled: set[int]) -> None:
        self._front = front
        self._reception = reception
        self._cancelled = cancelled
        self._calls: list[Call] = []
        self._entries: dict[int, Entry] = {}
        self._counts: Counts = {}

    def add(self, call_id: int, method: DecisionMethod, request: Any, call: Call, size: int) -> None:
        """A call of so many bytes to be decided, which has been admitted."""
        self._entries[len(self._calls)] = (call_id, method, request, size)
        self._calls.append(call)

    def answer(self, call_id: int, name: str, payload: bytes) -> None:
        """Answers a call that is not decided by the engine."""
        sent = self._front.respond(call_id, payload)
        _add(self._counts, name, None if sent else Code.CANCELLED)

    def fail(self, call_id: int, name: str, error: CallError) -> None:
        """Fails a call that cannot be decided."""
        self._fail(call_id, error)
        _add(self._counts, name, error.code)

    def submit(self) -> None:
        """Has the calls decided; what was answered already is counted."""
        self._count(self._counts)
        if not self._calls:
            return
        try:
            self._reception.dispatcher.submit(self._calls, self)
        except Exception:
            log.exception("defect while deciding")
            self.reply(range(len(self._calls)), [defect()] * len(self._calls))

    def reply(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Answers the calls at these places, but for those that were answered before."""
        respond, take = self._front.respond, self._entries.pop
        counts: Counts = {}
        ids: list[int] = []
        total = 0
        for place, outcome in zip(places, outcomes, strict=True):
            entry = take(place, None)  # one step, so that of two threads only one has it
            if entry is None:
                continue
            call_id, method, request, size = entry
            ids.append(call_id)
            total += size
            answer = _encoded(method, outcome, request)
            if isinstance(answer, bytes):
                sent = respond(call_id, answer)
                _add(counts, method.name, None if sent else Code.CANCELLED)
            else:
                self._fail(call_id, answer)
                _add(counts, method.name, answer.code)
        if self._cancelled:
            self._cancelled.difference_update(ids)
        self._reception.admission.leave(len(ids), total)
        self._count(counts)

    def wanted(self, place: int) -> bool:
        """Whether the caller still waits."""
        entry = self._entries.get(place)
        return entry is not None and entry[0] not in self._cancelled

    def _count(self, counts: Counts) -> None:
        for (name, code), calls in counts.items():
            self._reception.count(name, code, calls)

    def _fail(self, call_id: int, error: CallError) -> None:
        metadata = _allowed(error) if error.reason else None
        try:
            self._front.fail(call_id, _NUMBERS[error.code], error.message, metadata)
        except ValueError:
            log.exception("defect while failing a call")
            self._front.fail(call_id, _NUMBERS[Code.INTERNAL], defect().message)


def _add(counts: Counts, name: str, code: Code | None) -> None:
    counts[name, code] = counts.get((name, code), 0) + 1


def _allowed(error: CallError) -> list[tuple[str, str]]:
    """The metadata that the library takes."""
    return [(key, said) for key, said in trailing_metadata(error) if not key.startswith(RESERVED)]


def _encoded(method: DecisionMethod, outcome: Outcome, request: Any) -> bytes | CallError:
    try:
        return method.encode(outcome, request)
    except Exception:
        log.exception("defect while answering a call", extra={"method": method.name})
        return defect()
