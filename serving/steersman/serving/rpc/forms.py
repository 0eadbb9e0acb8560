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

MOST_FORMS = 1024
"""Forms that are remembered; beyond that the oldest are forgotten."""
MOST_ALIKE = 8
"""Forms of one length for one policy, which all have to be compared with."""
LARGEST_FORM = 64 * 1024
"""Bytes. In larger requests the parsing is little beside what they carry."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def _numbers(message: Descriptor, *names: str) -> tuple[int, ...]:
    return tuple(message.fields_by_name[name].number for name in names)


_OBSERVATION, _MASK, _KEY = _numbers(
    pb.ActRequest.DESCRIPTOR, "observation", "action_mask", "idempotency_keys"
)
_SCALARS = frozenset(_numbers(pb.ActRequest.DESCRIPTOR, "policy", "version", "mode", "version_label"))
_KNOWN = _SCALARS | {_OBSERVATION, _MASK, _KEY}
_POLICY_TAG = pb.ActRequest.DESCRIPTOR.fields_by_name["policy"].number << 3 | _BYTES
_DATA, _VALUES = _numbers(pb.Tensor.DESCRIPTOR, "data", "values")


class Span(NamedTuple):
    """Bytes `start` to `end` of a request."""

    start: int
    end: int


class Spans(NamedTuple):
    """Where the numbers of a request are: the observation's elements, the mask, the idempotency key."""

    observation: Span
    mask: Span | None = None
    key: Span | None = None


class ActForm:
    """What such requests have in common, and where their numbers are.

    Args:
        payload: One of them.
        call: The call that it is, of one row.
        columns: Its row, as the policy's contract has it.
        spans: Where its numbers are.

    Attributes:
        length: Bytes of such a request.
        policy: Name of the policy that they ask.
        fits: Whether a request of this length is one of them.
    """

    __slots__ = ("_dtype", "_like", "_mask_shape", "_shape", "_spans", "fits", "length", "policy")

    def __init__(self, payload: bytes, call: Call, columns: Columns, spans: Spans) -> None:
        (array,) = columns.observations.values()
        self.length = len(payload)
        self.policy = call.policy
        self._like = call
        self._spans = spans
        self._dtype, self._shape = array.dtype, array.shape[1:]
        self._mask_shape = () if columns.action_mask is None else columns.action_mask.shape[1:]
        self.fits = _matcher(payload, [span for span in spans if span is not None])

    def key(self, payload: bytes) -> bytes:
        """The request's idempotency key, in which two rows of a call must differ; empty if it has none."""
        span = self._spans.key
        return b"" if span is None else payload[span.start : span.end]

    def read(self, payloads: Sequence[bytes], arrived_ns: int, deadline_ns: int = 0) -> Call:
        """These requests as one call, with a row for each in their order.

        Args:
            payloads: At least one; all of them fit, and no two have the same key.
            arrived_ns: When the transport had them, `time.perf_counter_ns`.
            deadline_ns: When the caller of a single one stops waiting, on the same clock; 0 for never.
        """
        rows, like = len(payloads), self._like
        joined = payloads[0] if rows == 1 else b"".join(payloads)
        elements = self._elements(joined, rows, self._spans.observation).view(self._dtype)
        mask = None
        if self._spans.mask is not None:
            allowed = self._elements(joined, rows, self._spans.mask) != 0
            mask = RawTensor(allowed, (rows, *self._mask_shape), typed=True)
        return Call(
            policy=like.policy,
            observations={"": RawTensor(elements, (rows, *self._shape), typed=True)},
            action_mask=mask,
            mode=like.mode,
            version=like.version,
            version_label=like.version_label,
            idempotency_keys=() if self._spans.key is None else [self.key(each) for each in payloads],
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
        self._forms: dict[tuple[int, bytes], list[ActForm]] = {}
        self._misses: dict[int, int] = {}
        self._kept = 0

    def find(self, payload: bytes) -> ActForm | None:
        """The form of a request, if it has a known one."""
        for form in self._forms.get((len(payload), _policy_of(payload)), ()):
            if form.fits(payload):
                return form
        return None

    def turn(self) -> None:
        """To be called before requests are looked up: forgets what held for another routing table."""
        if self._routing is not self._engine.routing:
            self._routing = self._engine.routing
            self._forms, self._misses, self._kept = {}, {}, 0

    def learn(self, payload: bytes, call: Call) -> None:
        """Remembers the form of a request that was parsed, if it has one.

        Requests of a length of which none had are looked at ever more seldom.
        """
        if _has_more(call) or len(payload) > LARGEST_FORM:
            return
        misses = self._misses[len(payload)] = self._misses.get(len(payload), 0) + 1
        if misses & (misses - 1):
            return
        form = self._form(payload, call)
        if form is not None:
            self._misses.pop(len(payload))
            self._keep(form, (len(payload), _policy_of(payload)))
        elif len(self._misses) > MOST_FORMS:
            self._misses.clear()

    def _keep(self, form: ActForm, place: tuple[int, bytes]) -> None:
        alike = self._forms.setdefault(place, [])
        alike.append(form)
        self._kept += 1
        if len(alike) > MOST_ALIKE:
            del alike[0]
            self._kept -= 1
        while self._kept > MOST_FORMS:
            oldest = next(iter(self._forms))
            self._kept -= len(self._forms.pop(oldest))

    def _form(self, payload: bytes, call: Call) -> ActForm | None:
        if (spans := _spans(payload)) is None:
            return None
        try:
            policy = self._routing.ready(call.policy)
            policy.asked_for(call.version, call.version_label)
            columns = policy.checker.check(call, 1)
        except CallError:
            return None  # whoever sent it learns why in the usual way
        is_plain = list(call.observations) == [""]
        if not is_plain or any(array.dtype == np.bool_ for array in columns.observations.values()):
            return None  # any byte but 0 is true, which reading bytes as they lie would not make of it
        return ActForm(payload, call, columns, spans)


def _has_more(call: Call) -> bool:
    """Whether a call says more of its rows than forms have room for."""
    return bool(
        call.episode_ids
        or call.episode_tokens
        or call.steps
        or call.episode_starts
        or call.observation_times
        or call.evidence
        or len(call.idempotency_keys) > 1
    )


def _policy_of(payload: bytes) -> bytes:
    """The field `policy` where it comes first and is short, as everybody writes it; else nothing."""
    if len(payload) > 1 and payload[0] == _POLICY_TAG and payload[1] < 0x80:
        return payload[: 2 + payload[1]]
    return b""


def _matcher(payload: bytes, spans: Sequence[Span]) -> Callable[[bytes], bool]:
    """Tells whether bytes are those of `payload` but for at most three spans."""
    nothing = Span(len(payload), len(payload))
    first, second, third = sorted([*spans, nothing, nothing])[:3]
    head, tail = payload[: first.start], payload[third.end :]
    one, other = payload[first.end : second.start], payload[second.end : third.start]

    def matches(found: bytes) -> bool:
        return (
            found.startswith(head)
            and found.startswith(one, first.end)
            and found.startswith(other, second.end)
            and found.endswith(tail)
        )

    return matches


def _spans(payload: bytes) -> Spans | None:
    """Where what may change is; None where more than that may."""
    found: dict[int, Span] = {}
    try:
        for number, wire, span in _fields(payload, Span(0, len(payload))):
            if number in found or number not in _KNOWN:
                return None
            place = _changing(payload, number, wire, span)
            if place is None:
                return None
            found[number] = place
    except ValueError:
        return None
    return Spans(found[_OBSERVATION], found.get(_MASK), found.get(_KEY)) if _OBSERVATION in found else None


def _changing(payload: bytes, number: int, wire: int, span: Span) -> Span | None:
    """What may change of a field: a tensor's elements, all of a key; of the others it does not matter."""
    if number in _SCALARS:
        return span
    if wire != _BYTES:
        return None
    if number == _KEY:
        return span if span.end > span.start else None
    return _data(payload, span)


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
