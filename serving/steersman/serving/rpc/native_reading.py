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

NEAR_S = 0.1
"""Requests whose callers wait no longer than this are read by themselves."""
log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Alike:
    """Requests of one form that came together."""

    method: DecisionMethod
    form: Form
    ids: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    remaining_s: list[float | None] = field(default_factory=list)
    keys: set[bytes] = field(default_factory=set)

    @property
    def nearest_s(self) -> float | None:
        """Seconds until the first of their callers stops waiting; None for never."""
        return min((each for each in self.remaining_s if each is not None), default=None)

    def add(self, call_id: int, payload: bytes, remaining_s: float | None) -> bool:
        """One more; not where another one has its key."""
        key = self.form.key(payload)
        if key:
            if key in self.keys:
                return False
            self.keys.add(key)
        self.ids.append(call_id)
        self.payloads.append(payload)
        self.remaining_s.append(remaining_s)
        return True

    def part(self, places: slice) -> _Alike:
        """Some of them."""
        return _Alike(
            self.method, self.form, self.ids[places], self.payloads[places], self.remaining_s[places]
        )


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
        others: list[Event] = []
        books = self._open_books()
        for event in events:
            _, call_id, method_id, payload, _, details = event
            request, kept = payload or b"", books[method_id]
            form = None if kept is None else kept[1].find(request)
            if kept is None or form is None or _is_near(details):
                others.append(event)
                continue
            group = alike.get(id(form))
            if group is None:
                group = alike[id(form)] = _Alike(kept[0], form)
            if not group.add(call_id, request, None if details is None else details[2]):
                others.append(event)
        for group in alike.values():  # first, since they are small: large calls may leave no room
            self._read_alike(batch, group, arrived_ns)
        for _, call_id, method_id, payload, _, details in others:
            self._read_one(batch, call_id, method_id, payload or b"", _details(details, arrived_ns))

    def _open_books(self) -> Sequence[tuple[DecisionMethod, FormBook] | None]:
        """The books by method; none while requests are refused or a book is broken: then each is read."""
        if self._draining():
            return [None] * len(self._books)
        try:
            for kept in self._books:
                if kept is not None:
                    kept[1].turn()
        except Exception:
            log.exception("defect of a book of forms")
            return [None] * len(self._books)
        return self._books

    def _read_alike(self, batch: NativeBatch, group: _Alike, arrived_ns: int) -> None:
        """As many in one call as are decided in one go; a model's thread gathers by itself."""
        limits, total = self._reception.limits, len(group.ids)
        most = max(min(self._inline_rows(group), limits.max_rows, limits.max_waiting_rows, total), 1)
        for start in range(0, total, most):
            part = group.part(slice(start, start + most))
            size = sum(map(len, part.payloads))
            full = self._reception.admission.enter(size, len(part.ids))
            if full is None:
                self._add(batch, part, arrived_ns, size)
            elif len(part.ids) == 1:
                batch.fail(part.ids[0], part.method.name, full)
            else:  # there is room for some of them
                for place in range(len(part.ids)):
                    self._read_alike(batch, part.part(slice(place, place + 1)), arrived_ns)

    def _inline_rows(self, group: _Alike) -> int:
        try:
            return self._reception.dispatcher.inline_rows(group.form.policy)
        except Exception:
            log.exception("defect while asking where calls are decided")
            return 1

    def _add(self, batch: NativeBatch, part: _Alike, arrived_ns: int, size: int) -> None:
        """Requests that have been admitted, as one call, with the nearest of their deadlines."""
        deadline_ns = _deadline_ns(part.nearest_s, arrived_ns)
        try:
            call = part.form.read(part.payloads, arrived_ns, deadline_ns)
        except Exception:
            log.exception("defect while reading calls", extra={"method": part.method.name})
            self._reception.admission.leave(len(part.ids), size)
            for call_id in part.ids:
                batch.fail(call_id, part.method.name, defect())
        else:
            batch.add(part.ids, part.method, None, call, size)

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


def _is_near(details: CallDetails | None) -> bool:
    """Whether a request's deadline is so near, or past, that it shall not depend on others."""
    return details is not None and details[2] is not None and details[2] <= NEAR_S


def _deadline_ns(remaining_s: float | None, arrived_ns: int) -> int:
    return RequestDetails(time_remaining_s=remaining_s, arrived_ns=arrived_ns).deadline_ns


def _details(details: CallDetails | None, arrived_ns: int) -> RequestDetails:
    if details is None:
        return RequestDetails(arrived_ns=arrived_ns)
    metadata, peer, remaining_s = details
    return RequestDetails(metadata, peer, remaining_s, arrived_ns)
