"""Requests that differ in nothing but their numbers, read together without being parsed one by one.

A caller sends the same `ActRequest` again and again: policy, shapes and mode stay, the elements of the
observation and of the mask change. Where one such request was parsed, any other of the same length that has
the same bytes around these elements means the same, for protocol buffers read tags and lengths from left to
right and never look into a field of bytes. So the bytes around are compared, which is what parsing comes to,
and the elements of all such calls become columns in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from google.protobuf.descriptor import Descriptor
from numpy.typing import NDArray

from steersman.serving.deciding.batch import Columns
from steersman.serving.deciding.call import Call, RawTensor
from steersman.serving.deciding.engine import Engine
from steersman.serving.errors import CallError
from steersman.v1 import policy_pb2 as pb

MOST_FORMS = 256
"""Forms that are remembered; a policy's callers have a handful."""
LARGEST_FORM = 64 * 1024
"""Bytes. In larger requests the parsing is little beside what they carry."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def _numbers(message: Descriptor, *names: str) -> tuple[int, ...]:
    return tuple(message.fields_by_name[name].number for name in names)


_OBSERVATION, _MASK = _numbers(pb.ActRequest.DESCRIPTOR, "observation", "action_mask")
_SCALARS = frozenset(_numbers(pb.ActRequest.DESCRIPTOR, "policy", "version", "mode", "version_label"))
_DATA, _VALUES = _numbers(pb.Tensor.DESCRIPTOR, "data", "values")


class Span(NamedTuple):
    """Bytes `start` to `end` of a request."""

    start: int
    end: int


class ActForm:
    """What such requests have in common, and where their numbers are.

    Args:
        payload: One of them.
        call: The call that it is, of one row.
        columns: Its row, as the policy's contract has it.
        observation: Where the observation's elements are.
        mask: Where the mask is, if there is one.

    Attributes:
        length: Bytes of such a request.
        policy: Name of the policy that they ask.
        fits: Whether a request of this length is one of them.
    """

    __slots__ = (
        "_dtype",
        "_like",
        "_mask",
        "_mask_shape",
        "_observation",
        "_shape",
        "fits",
        "length",
        "policy",
    )

    def __init__(
        self, payload: bytes, call: Call, columns: Columns, observation: Span, mask: Span | None
    ) -> None:
        (array,) = columns.observations.values()
        self.length = len(payload)
        self.policy = call.policy
        self._like = call
        self._observation, self._mask = observation, mask
        self._dtype, self._shape = array.dtype, array.shape[1:]
        self._mask_shape = () if columns.action_mask is None else columns.action_mask.shape[1:]
        self.fits = _matcher(payload, observation, mask or Span(len(payload), len(payload)))

    def read(self, payloads: Sequence[bytes], arrived_ns: int, deadline_ns: int = 0) -> Call:
        """These requests as one call, with a row for each in their order.

        Args:
            payloads: At least one; all of them fit.
            arrived_ns: When the transport had them, `time.perf_counter_ns`.
            deadline_ns: When the caller of a single one stops waiting, on the same clock; 0 for never.
        """
        rows, like = len(payloads), self._like
        joined = payloads[0] if rows == 1 else b"".join(payloads)
        elements = self._elements(joined, rows, self._observation).view(self._dtype)
        mask = None
        if self._mask is not None:
            allowed = self._elements(joined, rows, self._mask) != 0
            mask = RawTensor(allowed, (rows, *self._mask_shape), typed=True)
        return Call(
            policy=like.policy,
            observations={"": RawTensor(elements, (rows, *self._shape), typed=True)},
            action_mask=mask,
            mode=like.mode,
            version=like.version,
            version_label=like.version_label,
            arrived_ns=arrived_ns,
            deadline_ns=deadline_ns,
        )

    def _elements(self, joined: bytes, rows: int, span: Span) -> NDArray[np.uint8]:
        """The bytes of a span of all requests, one after the other. Copied, so that elements are aligned."""
        if rows == 1:
            return np.frombuffer(joined[span.start : span.end], np.uint8)
        matrix = np.frombuffer(joined, np.uint8).reshape(rows, self.length)
        return np.ascontiguousarray(matrix[:, span.start : span.end]).reshape(-1)


class ActForms:
    """The forms of the requests that came lately. Of use from one thread.

    Args:
        engine: Whose contracts requests must keep; with every other routing table the book begins anew.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._routing = engine.routing
        self._by_length: dict[int, list[ActForm]] = {}
        self._kept = 0

    def find(self, payload: bytes) -> ActForm | None:
        """The form of a request, if it has a known one."""
        for form in self._by_length.get(len(payload), ()):
            if form.fits(payload):
                return form
        return None

    def turn(self) -> None:
        """To be called before requests are looked up: forgets what held for another routing table."""
        if self._routing is not self._engine.routing or self._kept >= MOST_FORMS:
            self._routing = self._engine.routing
            self._by_length, self._kept = {}, 0

    def learn(self, payload: bytes, call: Call) -> None:
        """Remembers the form of a request that was parsed, if it has one."""
        if self._kept >= MOST_FORMS or (form := self._form(payload, call)) is None:
            return
        self._by_length.setdefault(len(payload), []).append(form)
        self._kept += 1

    def _form(self, payload: bytes, call: Call) -> ActForm | None:
        if len(payload) > LARGEST_FORM or (spans := _spans(payload)) is None:
            return None
        try:
            policy = self._routing.ready(call.policy)
            policy.asked_for(call.version, call.version_label)
            columns = policy.checker.check(call, 1)
        except CallError:
            return None  # whoever sent it learns why in the usual way
        if columns.starts is not None or list(call.observations) != [""]:
            return None
        return ActForm(payload, call, columns, *spans)


def _matcher(payload: bytes, one: Span, other: Span) -> Callable[[bytes], bool]:
    """Tells whether bytes are those of `payload` but for two spans."""
    first, second = sorted((one, other))
    head, between, tail = payload[: first.start], payload[first.end : second.start], payload[second.end :]

    def matches(bytes_: bytes) -> bool:
        return bytes_.startswith(head) and bytes_.startswith(between, first.end) and bytes_.endswith(tail)

    return matches


def _spans(payload: bytes) -> tuple[Span, Span | None] | None:
    """Where the elements of the observation and of the mask are; None where more than these may change."""
    found: dict[int, Span] = {}
    try:
        for number, wire, span in _fields(payload, Span(0, len(payload))):
            if number in found or (number not in _SCALARS and number not in {_OBSERVATION, _MASK}):
                return None
            found[number] = span
            if number not in _SCALARS:
                data = _data(payload, span) if wire == _BYTES else None
                if data is None:
                    return None
                found[number] = data
    except ValueError:
        return None
    return (found[_OBSERVATION], found.get(_MASK)) if _OBSERVATION in found else None


def _data(payload: bytes, tensor: Span) -> Span | None:
    """Where a tensor's raw elements are; None where it has none or gives them twice."""
    fields = list(_fields(payload, tensor))
    data = [span for number, wire, span in fields if number == _DATA and wire == _BYTES]
    plain = any(number == _VALUES for number, _, _ in fields)
    return data[0] if len(data) == 1 and not plain and data[0].end > data[0].start else None


def _fields(payload: bytes, within: Span) -> Iterator[tuple[int, int, Span]]:
    """Number, wire type and place of each field.

    Raises:
        ValueError: These are not the fields of a message, or have groups, which nobody writes.
    """
    place = within.start
    while place < within.end:
        tag, place = _varint(payload, place)
        wire, start = tag & 7, place
        if wire == _VARINT:
            _, place = _varint(payload, place)
        elif wire == _BYTES:
            size, start = _varint(payload, place)
            place = start + size
        elif wire in {_FIXED64, _FIXED32}:
            place += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError
        if place > within.end:
            raise ValueError
        yield tag >> 3, wire, Span(start, place)


def _varint(payload: bytes, place: int) -> tuple[int, int]:
    number = 0
    for shift in range(_LONGEST_VARINT):
        if place + shift >= len(payload):
            raise ValueError
        byte = payload[place + shift]
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return number, place + shift + 1
    raise ValueError
