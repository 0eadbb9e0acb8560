"""The calls that came over the native transport together, and the way back for their outcomes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steersman.serving.call import Call
from steersman.serving.dispatch import Outcome
from steersman.serving.errors import CallError, Code
from steersman.serving.rpc.methods import DecisionMethod, defect
from steersman.serving.rpc.reception import Reception
from steersman.serving.rpc.status import STATUS, trailing_metadata

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

_NUMBERS: Mapping[Code, int] = {code: status.value[0] for code, status in STATUS.items()}
log = logging.getLogger(__name__)


class NativeBatch:
    """A batch, which is the sink of its outcomes.

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
        self._entries: list[tuple[int, DecisionMethod, Any]] = []
        self._replied: list[Sequence[int]] = []
        self._counts: Counter[tuple[str, Code | None]] = Counter()

    def add(self, call_id: int, method: DecisionMethod, request: Any, call: Call) -> None:
        """A call to be decided, which has been admitted."""
        self._calls.append(call)
        self._entries.append((call_id, method, request))

    def answer(self, call_id: int, name: str, payload: bytes) -> None:
        """Answers a call that is not decided by the engine."""
        sent = self._front.respond(call_id, payload)
        self._counts[name, None if sent else Code.CANCELLED] += 1

    def fail(self, call_id: int, name: str, error: CallError) -> None:
        """Fails a call that cannot be decided."""
        self._fail(call_id, error)
        self._counts[name, error.code] += 1

    def submit(self) -> None:
        """Has the calls decided; what was answered already is counted."""
        self._count(self._counts)
        if not self._calls:
            return
        try:
            self._reception.dispatcher.submit(self._calls, self)
        except Exception:
            log.exception("defect while deciding")
            left = sorted(set(range(len(self._calls))).difference(*self._replied))
            self.reply(left, [defect()] * len(left))

    def reply(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Answers the calls at these places."""
        self._replied.append(places)
        respond, entries = self._front.respond, self._entries
        counts: Counter[tuple[str, Code | None]] = Counter()
        for place, outcome in zip(places, outcomes, strict=True):
            call_id, method, request = entries[place]
            answer = _encoded(method, outcome, request)
            if isinstance(answer, bytes):
                sent = respond(call_id, answer)
                counts[method.name, None if sent else Code.CANCELLED] += 1
            else:
                self._fail(call_id, answer)
                counts[method.name, answer.code] += 1
        if self._cancelled:
            self._cancelled.difference_update(entries[place][0] for place in places)
        self._reception.admission.leave(len(places))
        self._count(counts)

    def wanted(self, place: int) -> bool:
        """Whether the caller still waits."""
        return self._entries[place][0] not in self._cancelled

    def _count(self, counts: Counter[tuple[str, Code | None]]) -> None:
        for (name, code), calls in counts.items():
            self._reception.count(name, code, calls)

    def _fail(self, call_id: int, error: CallError) -> None:
        metadata = trailing_metadata(error) if error.reason else None
        try:
            self._front.fail(call_id, _NUMBERS[error.code], error.message, metadata)
        except ValueError:
            log.exception("defect while failing a call")
            self._front.fail(call_id, _NUMBERS[Code.INTERNAL], defect().message)


def _encoded(method: DecisionMethod, outcome: Outcome, request: Any) -> bytes | CallError:
    try:
        return method.encode(outcome, request)
    except Exception:
        log.exception("defect while answering a call", extra={"method": method.name})
        return defect()
