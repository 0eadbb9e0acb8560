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
Entry = tuple[Sequence[int], DecisionMethod, Any, int]
"""Of a call: the ids of the requests that it answers, a row each if there are several; their method; the
request as that decoded it, None where they were read by their form; their bytes."""
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

    def add(self, ids: Sequence[int], method: DecisionMethod, request: Any, call: Call, size: int) -> None:
        """A call of so many bytes to be decided, which has been admitted.

        Args:
            ids: Of the requests that it answers; of several, each has one row of it.
            method: Their method.
            request: The request as that decoded it; None where they were read by their form.
            call: The call.
            size: Bytes of all of them.
        """
        self._entries[len(self._calls)] = (ids, method, request, size)
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
        take = self._entries.pop
        counts: Counts = {}
        answered: list[int] = []
        total = 0
        for place, outcome in zip(places, outcomes, strict=True):
            entry = take(place, None)  # one step, so that of two threads only one has it
            if entry is None:
                continue
            ids, method, request, size = entry
            answered += ids
            total += size
            self._send(ids, method, _encoded(method, outcome, request, len(ids)), counts)
        if self._cancelled:
            self._cancelled.difference_update(answered)
        self._reception.admission.leave(len(answered), total)
        self._count(counts)

    def _send(
        self,
        ids: Sequence[int],
        method: DecisionMethod,
        answers: Sequence[bytes | CallError],
        counts: Counts,
    ) -> None:
        respond, sent = self._front.respond, 0
        for call_id, answer in zip(ids, answers, strict=True):
            if not isinstance(answer, bytes):
                self._fail(call_id, answer)
                _add(counts, method.name, answer.code)
            elif respond(call_id, answer):
                sent += 1
            else:
                _add(counts, method.name, Code.CANCELLED)
        if sent:
            _add(counts, method.name, None, sent)

    def wanted(self, place: int) -> bool:
        """Whether the caller still waits."""
        entry = self._entries.get(place)
        return entry is not None and not self._cancelled.issuperset(entry[0])

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


def _add(counts: Counts, name: str, code: Code | None, calls: int = 1) -> None:
    counts[name, code] = counts.get((name, code), 0) + calls


def _allowed(error: CallError) -> list[tuple[str, str]]:
    """The metadata that the library takes."""
    return [(key, said) for key, said in trailing_metadata(error) if not key.startswith(RESERVED)]


def _encoded(
    method: DecisionMethod, outcome: Outcome, request: Any, requests: int
) -> Sequence[bytes | CallError]:
    try:
        if request is None and method.together is not None:
            return method.together.encode(outcome, requests)
        return (method.encode(outcome, request),)
    except Exception:
        log.exception("defect while answering a call", extra={"method": method.name})
        return [defect()] * requests
