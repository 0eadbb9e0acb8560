"""What the native transport hands over, read: requests that are alike together, all others one by one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from steersman.serving.errors import CallError, Code
from steersman.serving.rpc.methods import (
    DecisionMethod,
    Form,
    FormBook,
    RequestDetails,
    UnaryMethod,
    defect,
)
from steersman.serving.rpc.native_batch import NativeBatch
from steersman.serving.rpc.native_front import NativeMethod
from steersman.serving.rpc.reception import Reception

CallDetails = tuple[Any, str, float | None]
Event = tuple[int, int, int, bytes | None, Any, CallDetails | None]

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Alike:
    """Requests of one form that came together."""

    method: DecisionMethod
    form: Form
    ids: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    remaining_s: list[float | None] = field(default_factory=list)


class Reader:
    """Reads the requests of a batch. One thread calls it.

    Args:
        methods: What is answered, in the order that the front was given them.
        reception: What becomes of calls.
        draining: Whether no new calls are taken.
    """

    def __init__(
        self, methods: Sequence[NativeMethod], reception: Reception, draining: Callable[[], bool]
    ) -> None:
        self._methods = methods
        self._reception = reception
        self._draining = draining
        self._books = tuple(_book(method) for method in methods)

    def read(self, batch: NativeBatch, events: Sequence[Event], arrived_ns: int) -> None:
        """Puts calls into the batch, or answers them; one bad call fails alone."""
        alike: dict[int, _Alike] = {}
        draining = self._draining()
        for kept in self._books:
            if kept is not None:
                kept[1].turn()
        for _, call_id, method_id, payload, _, details in events:
            request, kept = payload or b"", self._books[method_id]
            form = None if kept is None else kept[1].find(request)
            if kept is None or form is None or draining or _is_late(details):
                self._read_one(batch, call_id, method_id, request, _details(details, arrived_ns))
                continue
            group = alike.get(id(form))
            if group is None:
                group = alike[id(form)] = _Alike(kept[0], form)
            group.ids.append(call_id)
            group.payloads.append(request)
            group.remaining_s.append(None if details is None else details[2])
        for group in alike.values():
            self._read_alike(batch, group, arrived_ns)

    def _read_alike(self, batch: NativeBatch, group: _Alike, arrived_ns: int) -> None:
        """As many in one call as are decided in one go; a model's thread gathers by itself."""
        limits, total = self._reception.limits, len(group.ids)
        inline = self._reception.dispatcher.inline_rows(group.form.policy)
        most = max(min(inline, limits.max_rows, limits.max_waiting_rows, total), 1)
        for start in range(0, total, most):
            part = slice(start, start + most)
            ids, payloads = group.ids[part], group.payloads[part]
            size = sum(map(len, payloads))
            if (full := self._reception.admission.enter(size, len(ids))) is None:
                deadline_ns = _deadline_ns(group.remaining_s[start], arrived_ns) if len(ids) == 1 else 0
                call = group.form.read(payloads, arrived_ns, deadline_ns)
                batch.add(ids, group.method, None, call, size)
            elif len(ids) == 1:
                batch.fail(ids[0], group.method.name, full)
            else:
                for place in range(start, start + len(ids)):
                    one = slice(place, place + 1)
                    alone = _Alike(group.method, group.form, group.ids[one], group.payloads[one])
                    alone.remaining_s = group.remaining_s[one]
                    self._read_alike(batch, alone, arrived_ns)

    def _read_one(
        self, batch: NativeBatch, call_id: int, method_id: int, payload: bytes, details: RequestDetails
    ) -> None:
        method = self._methods[method_id]
        try:
            self._begin(batch, call_id, method_id, payload, details)
        except CallError as error:
            batch.fail(call_id, method.name, error)
        except Exception:
            log.exception("defect while reading a call", extra={"method": method.name})
            batch.fail(call_id, method.name, defect())

    def _begin(
        self, batch: NativeBatch, call_id: int, method_id: int, payload: bytes, details: RequestDetails
    ) -> None:
        self._check(payload, details)
        method, kept = self._methods[method_id], self._books[method_id]
        if isinstance(method, UnaryMethod):
            batch.answer(call_id, method.name, method.answer(payload, details))
            return
        if (full := self._reception.admission.enter(len(payload))) is not None:
            raise full
        try:
            request, call = method.decode(payload, details)
            if kept is not None:
                kept[1].learn(payload, call)
        except BaseException:
            self._reception.admission.leave(1, len(payload))
            raise
        batch.add((call_id,), method, request, call, len(payload))

    def _check(self, payload: bytes, details: RequestDetails) -> None:
        """Whether a call shall be read at all. The library has answered those whose deadline has passed."""
        if details.time_remaining_s is not None and details.time_remaining_s <= 0:
            raise CallError(Code.DEADLINE_EXCEEDED, "deadline_exceeded", "the deadline has passed")
        if self._draining():
            raise CallError(Code.UNAVAILABLE, "draining", "the server is shutting down; try again")
        most = self._reception.limits.max_message_bytes
        if len(payload) > most:  # in the words of grpcio's core, so that clients see no difference
            message = f"SERVER: Received message larger than max ({len(payload)} vs. {most})"
            raise CallError(Code.RESOURCE_EXHAUSTED, "", message)


def _book(method: NativeMethod) -> tuple[DecisionMethod, FormBook] | None:
    if not isinstance(method, DecisionMethod) or method.together is None:
        return None
    return method, method.together.book()


def _is_late(details: CallDetails | None) -> bool:
    return details is not None and details[2] is not None and details[2] <= 0


def _deadline_ns(remaining_s: float | None, arrived_ns: int) -> int:
    return RequestDetails(time_remaining_s=remaining_s, arrived_ns=arrived_ns).deadline_ns


def _details(details: CallDetails | None, arrived_ns: int) -> RequestDetails:
    if details is None:
        return RequestDetails(arrived_ns=arrived_ns)
    metadata, peer, remaining_s = details
    return RequestDetails(metadata, peer, remaining_s, arrived_ns)
