"""Requests that are alike and come together get what each of them would get alone, to the byte."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from steersman.serving.deciding.engine import Engine
from steersman.serving.errors import CallError
from steersman.serving.rpc.forms import LARGEST_FORM, MOST_ALIKE, MOST_FORMS, ActForms
from steersman.serving.rpc.methods import RequestDetails
from steersman.serving.rpc.policy import decode_act, encode_act, encode_acts
from steersman.v1 import policy_pb2 as pb
from unit.serving.conftest import KitMaker

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
FALLBACK = {"fallback": [{"constant": 0}]}


def request(
    observation: Any = (0, 0, 0, 0), mask: Any = (True, True, True), policy: str = "toy", **more: Any
) -> pb.ActRequest:
    row = np.asarray(observation, np.float32)
    made = pb.ActRequest(
        policy=policy,
        observation=pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=(1, *row.shape), data=row.tobytes()),
        **more,
    )
    if mask is not None:
        allowed = np.asarray(mask, np.bool_)
        tensor = pb.Tensor(dtype=pb.DTYPE_BOOL, shape=(1, *allowed.shape), data=allowed.tobytes())
        made.action_mask.CopyFrom(tensor)
    return made


def learned(engine: Engine, message: pb.ActRequest) -> tuple[ActForms, bytes]:
    """A book that has seen this request."""
    book, payload = ActForms(engine), message.SerializeToString()
    book.turn()
    book.learn(payload, decode_act(payload, RequestDetails())[1])
    return book, payload


def alone(engine: Engine, payload: bytes) -> bytes | CallError:
    asked, call = decode_act(payload, RequestDetails())
    return encode_act(engine.decide([call])[0], asked)


def told(answer: bytes | CallError) -> Any:
    """An answer but for its id, which is random; a failure as its caller sees it."""
    if isinstance(answer, CallError):
        return answer.code, answer.reason, answer.message, answer.row
    message = pb.ActResponse.FromString(answer)
    assert len(message.decision_ids) == 16
    message.ClearField("decision_ids")
    return message.SerializeToString()


@settings(max_examples=25, deadline=None)
@given(
    observations=hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(4)), elements=FLOATS),
    data=st.data(),
)
def test_together_they_get_what_each_gets_alone(
    kit: KitMaker, observations: Any, data: st.DataObject
) -> None:
    engine = kit(toy=FALLBACK).engine
    masks = data.draw(hnp.arrays(np.bool_, (len(observations), 3)))
    book, _ = learned(engine, request())
    payloads = [request(*row).SerializeToString() for row in zip(observations, masks, strict=True)]
    forms = {book.find(payload) for payload in payloads}
    assert len(forms) == 1
    form = forms.pop()
    assert form is not None
    answers = encode_acts(engine.decide([form.read(payloads, 1)])[0], len(payloads))
    assert [told(answer) for answer in answers] == [told(alone(engine, payload)) for payload in payloads]
    ids = [pb.ActResponse.FromString(each).decision_ids for each in answers if isinstance(each, bytes)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("mode", "policy", "mask"),
    [("SAMPLED", "toy", (1, 1, 1)), ("GREEDY", "cont", None), ("SAMPLED", "cont", None)],
)
def test_so_do_other_modes_and_continuous_actions(kit: KitMaker, mode: str, policy: str, mask: Any) -> None:
    engine = kit().engine
    asked = pb.ActionMode.Value(f"ACTION_MODE_{mode}")
    book, _ = learned(engine, request(mask=mask, policy=policy, mode=asked))
    rows = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)
    payloads = [request(row, mask, policy, mode=asked).SerializeToString() for row in rows]
    form = book.find(payloads[3])
    assert form is not None
    (outcome,) = engine.decide([form.read(payloads, 1)])
    for row, answer in enumerate(encode_acts(outcome, 5)):
        assert isinstance(answer, bytes)
        assert not isinstance(outcome, CallError)
        assert answer == encode_act(outcome.rows(row, row + 1, frozenset()), pb.ActRequest())


def test_a_request_with_any_byte_changed_is_of_the_form_only_if_it_means_the_same(kit: KitMaker) -> None:
    engine = kit().engine
    book, payload = learned(engine, request())
    of_the_form = 0
    for place in range(len(payload)):
        for byte in {0, 1, 2, 0x1A, 0x7F, 0x80, 0xFF, payload[place] ^ 1} - {payload[place]}:
            changed = payload[:place] + bytes([byte]) + payload[place + 1 :]
            form = book.find(changed)
            if form is None:
                continue
            of_the_form += 1
            _, call = decode_act(changed, RequestDetails())
            read = form.read([changed], 1)
            assert (read.policy, read.mode, read.version) == (call.policy, call.mode, call.version)
            assert read.observations[""].elements.tobytes() == call.observations[""].elements.tobytes()
            assert read.action_mask is not None
            assert call.action_mask is not None
            assert read.action_mask.elements.tolist() == call.action_mask.elements.tolist()
    assert of_the_form >= 7 * (16 + 3) - 20  # all bytes of the numbers, and no others


@pytest.mark.parametrize(
    "message",
    [
        request(evidence=[pb.EVIDENCE_VALUE]),
        request(episode_ids=["e"]),
        request(idempotency_keys=[b""]),
        request(correlation_id=3),
        request(steps=[0]),
        request(policy="nobody"),
        request(version=77),
        request((1, 2, 3)),
        request(mask=(True, True)),
        pb.ActRequest(policy="toy", observation=pb.Tensor(values=[0, 0, 0, 0])),
    ],
)
def test_what_needs_more_than_numbers_has_no_form(kit: KitMaker, message: pb.ActRequest) -> None:
    book, payload = learned(kit().engine, message)
    assert book.find(payload) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda payload: payload + payload[-payload[::-1].index(b"*"[0]) - 1 :],  # the mask twice
        lambda payload: payload + b"\x1a\x00",  # another observation, empty, which is merged
        lambda payload: payload + b"\xf8\x07\x01",  # an unknown field
        lambda payload: payload[:-1],
        lambda payload: payload + b"\x0b",  # a group
    ],
)
def test_what_is_written_in_another_way_has_no_form(kit: KitMaker, spoil: Callable[[bytes], bytes]) -> None:
    engine = kit().engine
    book, payload = learned(engine, request())
    _, call = decode_act(payload, RequestDetails())
    book.learn(spoil(payload), call)
    assert book.find(spoil(payload)) is None
    assert book.find(payload) is not None


def test_another_routing_table_begins_a_new_book(kit: KitMaker) -> None:
    engine = kit().engine
    book, payload = learned(engine, request())
    book.turn()
    assert book.find(payload) is not None
    engine.swap(type(engine.routing)(engine.routing.generation + 1, engine.routing.policies))
    book.turn()
    assert book.find(payload) is None


def test_keys_are_kept_apart_and_give_the_decisions_that_they_give_alone(kit: KitMaker) -> None:
    engine = kit().engine
    asked = pb.ActionMode.Value("ACTION_MODE_SAMPLED")
    book, _ = learned(engine, request(mode=asked, idempotency_keys=[bytes(16)]))
    payloads = [request(mode=asked, idempotency_keys=[bytes([i]) * 16]).SerializeToString() for i in range(6)]
    form = book.find(payloads[5])
    assert form is not None
    assert [form.key(payload) for payload in payloads] == [bytes([i]) * 16 for i in range(6)]
    (together,) = engine.decide([form.read(payloads, 1)])
    answers = encode_acts(together, 6)
    assert answers == [alone(engine, payload) for payload in payloads]  # to the byte: their ids are given
    assert len(set(answers)) == 6


def test_a_book_forgets_its_oldest_pages(kit: KitMaker) -> None:
    engine = kit().engine
    book = ActForms(engine)
    payload = request().SerializeToString()
    _, call = decode_act(payload, RequestDetails())
    book.learn(payload, call)
    for number in range(MOST_FORMS):
        other = payload.replace(b"toy", b"%03x" % number)
        book._misses.clear()  # as if nobody had sent anything else of this length
        book.learn(other, call)
    assert book.find(payload) is None
    assert sum(map(len, book._forms.values())) <= MOST_FORMS


def test_forms_of_one_policy_and_length_are_few(kit: KitMaker) -> None:
    engine = kit().engine
    book = ActForms(engine)
    for version in range(1, 3 * MOST_ALIKE):
        odd = request() if version == 1 else request(version_label=chr(96 + version))
        payload = odd.SerializeToString()
        _, call = decode_act(request().SerializeToString(), RequestDetails())
        book._misses.clear()
        book.learn(payload, call)
    assert max(map(len, book._forms.values())) == MOST_ALIKE


def test_requests_that_have_no_form_are_looked_at_ever_more_seldom(kit: KitMaker) -> None:
    engine = kit().engine
    book = ActForms(engine)
    payload = request(correlation_id=7).SerializeToString()
    _, call = decode_act(payload, RequestDetails())
    looked: list[bytes] = []
    look = book._form
    vars(book)["_form"] = lambda found, of: looked.append(found) or look(found, of)
    for _ in range(1000):
        book.learn(payload, call)
    assert len(looked) == 10


def test_large_requests_have_no_form(kit: KitMaker) -> None:
    engine = kit().engine
    book, payload = learned(engine, request())
    _, call = decode_act(payload, RequestDetails())
    large = payload + b"\x7a" + _varint(LARGEST_FORM) + b"x" * LARGEST_FORM
    book.learn(large, call)
    assert book.find(large) is None


def _varint(number: int) -> bytes:
    parts: list[int] = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def test_a_model_that_fails_answers_all_of_them_by_the_fallback(kit: KitMaker) -> None:
    engine = kit(toy=FALLBACK).engine
    book, payload = learned(engine, request())
    form = book.find(payload)
    assert form is not None
    session = engine.routing.ready("toy").stable.loaded.session

    def fail(outputs: Sequence[str], feeds: Any) -> Any:
        del outputs, feeds
        raise RuntimeError

    vars(session)["run"] = fail
    try:
        answers = encode_acts(engine.decide([form.read([payload] * 3, 1)])[0], 3)
    finally:
        del vars(session)["run"]
    for answer in answers:
        assert isinstance(answer, bytes)
        assert list(pb.ActResponse.FromString(answer).reasons) == ["model_error"]
