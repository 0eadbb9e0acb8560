"""The native transport's guards: limits, deadlines, cancelled calls, drain, panics, defects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import pygrpc_native
import pytest

from steersman.serving.dispatching.dispatcher import Dispatcher, Outcome
from steersman.serving.errors import CallError, Code, ServingError
from steersman.serving.limits import Limits
from steersman.serving.rpc import native, transports
from steersman.serving.rpc.admission import Admission
from steersman.serving.rpc.methods import DecisionMethod, RequestDetails, UnaryMethod, parse
from steersman.serving.rpc.native import NativeServer
from steersman.serving.rpc.reception import Reception
from steersman.serving.rpc.server import Address
from steersman.serving.rpc.transports import Transports
from steersman.serving.security.access import AccessList
from steersman.v1 import policy_pb2 as pb
from support.transports import Served, serving
from unit.serving.conftest import KitMaker

ACT = "/steersman.v1.PolicyService/Act"
TIMEOUT_S = 20.0


class BrokenError(BaseException):
    """As the library's `PanicException`: no `Exception`."""


class Front:
    """A stand-in for the library: gives prepared batches, then ends; keeps what is answered."""

    def __init__(self, *batches: Sequence[Any] | BaseException) -> None:
        self._batches = list(batches)
        self.answers: dict[int, bytes] = {}
        self.failures: dict[int, tuple[int, str]] = {}
        self.gone: set[int] = set()

    def start(self) -> None: ...

    def close(self) -> None: ...

    def recv_batch_details(self, max_events: int, timeout_ms: int | None) -> list[Any] | None:
        assert timeout_ms is not None
        if not self._batches:
            return None
        batch = self._batches.pop(0)
        if isinstance(batch, BaseException):
            raise batch
        return list(batch)

    def respond(self, call_id: int, payload: bytes) -> bool:
        self.answers[call_id] = payload
        return call_id not in self.gone

    def fail(self, call_id: int, code: int, message: str, trailing_metadata: Any = None) -> bool:
        self.failures[call_id] = (code, message)
        return True


def event(call_id: int, payload: bytes = b"", method: int = 0, remaining_s: float | None = None) -> Any:
    return (pygrpc_native.EVENT_CALL, call_id, method, payload, None, ((), "ipv4:1.2.3.4:5", remaining_s))


def cancel(call_id: int) -> Any:
    return (pygrpc_native.EVENT_CANCEL, call_id, 0, None, None, None)


class Echo:
    """A dispatcher whose outcomes are the calls; `late` ones are answered by `finish`."""

    def __init__(self, *, late: bool = False) -> None:
        self.late = late
        self.sinks: list[Any] = []

    def submit(self, calls: Sequence[Any], sink: Any) -> None:
        self.sinks.append(sink)
        if not self.late:
            sink.reply(range(len(calls)), list(calls))


def _decode(payload: bytes, details: RequestDetails) -> tuple[Any, Any]:
    if payload == b"broken":
        raise CallError(Code.INVALID_ARGUMENT, "broken", "no request")
    if payload == b"defect":
        raise ZeroDivisionError
    return payload, payload


def _encode(outcome: Outcome, request: bytes) -> bytes | CallError:
    if request == b"unencodable":
        raise ZeroDivisionError
    return outcome if isinstance(outcome, CallError) else request.upper()


METHODS = (
    DecisionMethod("/x/Decide", "Act", _decode, _encode),
    UnaryMethod("/x/Tell", "GetPolicy", lambda payload, details: details.peer.encode()),
)


class Rig:
    """A native server over a stand-in, run through all of the front's batches."""

    def __init__(self, *batches: Sequence[Any] | BaseException, late: bool = False, most: int = 100) -> None:
        self.front = Front(*batches)
        self.dispatcher = Echo(late=late)
        self.counted: dict[tuple[str, Code | None], int] = {}
        self.deaths: list[int] = []
        self.admission = Admission(most)
        reception = Reception(
            cast("Dispatcher", self.dispatcher), self.admission, self.count, Limits(max_message_bytes=1024)
        )
        self.server = NativeServer(cast("Any", self.front), METHODS, reception, self.deaths.append)

    def count(self, method: str, code: Code | None, calls: int = 1) -> None:
        self.counted[method, code] = self.counted.get((method, code), 0) + calls

    def run(self) -> Rig:
        self.server._live()
        return self


def test_the_events_are_those_of_the_library() -> None:
    assert native.EVENT_CALL == pygrpc_native.EVENT_CALL


def test_all_calls_of_a_batch_are_answered_each_with_its_own() -> None:
    rig = Rig([event(1, b"a"), event(2, b"b"), event(3, method=1)], [], [event(4, b"c")]).run()
    assert rig.front.answers == {1: b"A", 2: b"B", 3: b"ipv4:1.2.3.4:5", 4: b"C"}
    assert rig.counted == {("Act", None): 3, ("GetPolicy", None): 1}
    assert rig.admission.in_flight == 0


def test_a_bad_call_fails_alone() -> None:
    rig = Rig([event(1, b"broken"), event(2, b"defect"), event(3, b"unencodable"), event(4, b"fine")]).run()
    assert rig.front.answers == {4: b"FINE"}
    assert {call: code for call, (code, _) in rig.front.failures.items()} == {1: 3, 2: 13, 3: 13}
    assert rig.admission.in_flight == 0


def test_a_call_whose_deadline_has_passed_is_not_decided() -> None:
    rig = Rig([event(1, b"a", remaining_s=0.0), event(2, b"b", remaining_s=5.0)]).run()
    assert (set(rig.front.answers), rig.front.failures[1][0]) == ({2}, 4)


def test_a_message_that_is_too_large_is_refused_in_the_words_of_grpcio() -> None:
    rig = Rig([event(1, bytes(1025)), event(2, bytes(1024))]).run()
    assert rig.front.failures == {1: (8, "SERVER: Received message larger than max (1025 vs. 1024)")}
    assert set(rig.front.answers) == {2}


def test_calls_beyond_the_limit_are_refused_before_they_are_read() -> None:
    rig = Rig([event(1, b"a"), event(2, b"b"), event(3, b"broken")], late=True, most=2).run()
    assert rig.front.failures[3][0] == 8
    assert rig.admission.in_flight == 2
    rig.dispatcher.sinks[0].reply([1, 0], [b"", b""])
    assert rig.admission.in_flight == 0
    assert rig.front.answers == {1: b"A", 2: b"B"}


def test_a_call_whose_caller_gave_up_while_it_waits_is_known() -> None:
    rig = Rig([event(1, b"a"), event(2, b"b")], [cancel(2)], late=True).run()
    (sink,) = rig.dispatcher.sinks
    assert (sink.wanted(0), sink.wanted(1)) == (True, False)


def test_an_answer_that_nobody_took_counts_as_cancelled() -> None:
    rig = Rig([event(1, b"a")])
    rig.front.gone.add(1)
    assert rig.run().counted == {("Act", Code.CANCELLED): 1}


def test_while_draining_new_calls_are_refused_and_may_be_tried_elsewhere() -> None:
    rig = Rig([event(1, b"a"), event(2, method=1)])
    rig.server.refuse()
    rig.run()
    assert {code for code, _ in rig.front.failures.values()} == {14}


def test_a_panic_in_the_library_ends_the_process() -> None:
    rig = Rig(BrokenError())
    with pytest.raises(BrokenError):
        rig.run()
    assert rig.deaths == [native.PANIC_STATUS]


def test_a_defect_of_the_dispatcher_reaches_every_caller() -> None:
    rig = Rig([event(1, b"a"), event(2, b"b")], [event(3, b"c")])
    rig.dispatcher.submit = lambda calls, sink: 1 // 0  # type: ignore[method-assign,assignment,return-value]
    rig.run()
    assert {call: code for call, (code, _) in rig.front.failures.items()} == {1: 13, 2: 13, 3: 13}
    assert rig.admission.in_flight == 0


def test_that_the_thread_turns_can_be_seen() -> None:
    rig = Rig([], [])
    before = rig.server.turned_ns
    assert rig.run().server.turned_ns > before


@pytest.fixture
async def served(kit: KitMaker) -> AsyncIterator[Served]:
    """A real server of toy policies over the native transport."""
    async with serving(kit().engine, "native") as made:
        yield made


def _then(first: Callable[[], None], second: Callable[[], None]) -> None:
    first()
    second()


async def test_calls_in_flight_are_answered_before_the_port_is_closed(
    kit: KitMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library drops answers that were given just before it is closed."""
    engine = kit().engine
    payload = pb.ActRequest(policy="toy", observation=pb.Tensor(values=[1, 3, 2, 0])).SerializeToString()
    async with serving(engine, "native") as made, grpc.aio.insecure_channel(made.address) as channel:
        decide, gate, begun = engine.decide, threading.Event(), threading.Event()

        def slow(calls: Any, *rest: Any) -> Any:
            begun.set()
            assert gate.wait(TIMEOUT_S)
            return decide(calls, *rest)

        engine.decide = slow  # type: ignore[method-assign]
        calls = [asyncio.ensure_future(channel.unary_unary(ACT)(payload)) for _ in range(100)]
        await asyncio.to_thread(begun.wait, TIMEOUT_S)
        front, refusing = cast("Any", made.transports)._native, asyncio.Event()
        monkeypatch.setattr(front, "refuse", partial(_then, front.refuse, refusing.set))
        draining = asyncio.create_task(made.transports.drain(0.0, 5.0))
        await refusing.wait()
        gate.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await draining
    answered = [outcome for outcome in outcomes if isinstance(outcome, bytes)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert len(answered) + len(refused) == 100
    assert made.counted["Act", None] == len(answered) >= 1
    assert {outcome.code() for outcome in refused} <= {grpc.StatusCode.UNAVAILABLE}


async def test_the_callers_deadline_is_known(served: Served) -> None:
    seen: list[RequestDetails] = []
    methods = cast("Any", served.transports)._native._reader._methods

    def look(payload: bytes, details: RequestDetails) -> tuple[Any, Any]:
        seen.append(details)
        return cast("Any", methods[0]).decode(payload, details)

    changed = DecisionMethod(ACT, "Act", look, methods[0].encode)
    cast("Any", served.transports)._native._reader._methods = [changed, *methods[1:]]
    async with grpc.aio.insecure_channel(served.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(ACT)(b"", timeout=7.0, metadata=(("who", "me"),))
    (details,) = seen
    assert details.time_remaining_s is not None
    assert 5 < details.time_remaining_s < 9
    assert 0 < details.deadline_ns - details.arrived_ns < 9e9
    assert ("who", "me") in details.metadata


def test_no_deadline_is_never() -> None:
    assert RequestDetails().deadline_ns == 0
    assert RequestDetails(time_remaining_s=1e12, arrived_ns=5).deadline_ns == 0
    assert RequestDetails(time_remaining_s=1.0, arrived_ns=5).deadline_ns == 1_000_000_005


def test_bytes_of_another_message_are_told_so() -> None:
    with pytest.raises(CallError, match="ActRequest"):
        parse(pb.ActRequest, b"\x0a\xff")


async def test_the_socket_between_the_transports_is_private_and_gone_afterwards(
    kit: KitMaker, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 100)
    for folder in (None, tmp_path, long):
        path = transports._socket_path(folder)
        assert bool(path) == (folder is tmp_path and len(str(tmp_path)) < 80)
    with ExitStack() as stack:
        own = Path(transports._own_socket_path(stack))
        assert own.parent.stat().st_mode & 0o077 == 0
        assert len(str(own)) <= transports.MOST_PATH
    assert not own.parent.exists()


def test_what_is_asked_of_callers_cannot_be_passed_by(kit: KitMaker) -> None:
    reception = Reception(cast("Dispatcher", Echo()), Admission(1), lambda *_: None, Limits())
    with pytest.raises(ServingError, match="neither TLS nor tokens"):
        Transports("native", (), reception, Address("127.0.0.1", 1), access=AccessList(callers=()))


def test_a_call_that_was_queued_before_a_defect_is_answered_once() -> None:
    rig = Rig([event(1, b"a"), event(2, b"b")], late=True)
    queue = rig.dispatcher.submit

    def broken(calls: Sequence[Any], sink: Any) -> None:
        queue(calls, sink)
        raise ZeroDivisionError

    rig.dispatcher.submit = broken  # type: ignore[method-assign]
    rig.run()
    assert [code for code, _ in rig.front.failures.values()] == [13, 13]
    (sink,) = rig.dispatcher.sinks
    assert not sink.wanted(0)
    sink.reply([0, 1], [b"late", b"late"])
    assert rig.front.answers == {}
    assert rig.admission.in_flight == 0
    assert rig.counted == {("Act", Code.INTERNAL): 2}


def test_beyond_the_bytes_that_may_be_in_flight_calls_are_refused() -> None:
    rig = Rig([event(1, b"x" * 600), event(2, b"x" * 600), event(3, b"x" * 400)], late=True)
    rig.admission._most_bytes = 1000
    rig.run()
    assert rig.front.failures[2][0] == 8
    (sink,) = rig.dispatcher.sinks
    assert rig.admission.bytes_in_flight == 1000
    sink.reply([0, 1], [b"", b""])
    assert (rig.admission.in_flight, rig.admission.bytes_in_flight) == (0, 0)


async def test_many_calls_at_once_get_their_own_answers(served: Served) -> None:
    """Alike, with keys of which some come twice, near deadlines, and some that are like no other."""

    def asked(number: int) -> bytes:
        mask = [number % 3 == choice for choice in range(3)]
        return pb.ActRequest(
            policy="toy",
            observation=pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=(1, 4), data=bytes(16)),
            action_mask=pb.Tensor(dtype=pb.DTYPE_BOOL, shape=(1, 3), data=bytes(mask)),
            idempotency_keys=[] if number % 5 == 0 else [(number // 2).to_bytes(16, "big")],
            correlation_id=number if number % 7 == 0 else 0,
        ).SerializeToString()

    async with grpc.aio.insecure_channel(served.address) as channel:
        act = channel.unary_unary(ACT, response_deserializer=pb.ActResponse.FromString)
        await act(asked(1), timeout=TIMEOUT_S)
        answers = await asyncio.gather(
            *(act(asked(number), timeout=TIMEOUT_S if number % 11 else 0.09) for number in range(400)),
            return_exceptions=True,
        )
    ids: dict[int, set[bytes]] = {}
    for number, answer in enumerate(answers):
        if number % 11 == 0 and isinstance(answer, grpc.aio.AioRpcError):
            assert answer.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            continue
        assert isinstance(answer, pb.ActResponse)
        assert answer.action.data == (number % 3).to_bytes(8, "little")
        assert answer.correlation_id == (number if number % 7 == 0 else 0)
        if number % 5:
            ids.setdefault(number // 2, set()).add(answer.decision_ids)
    assert all(len(found) == 1 for found in ids.values())
    assert served.reception.admission.in_flight == 0
    assert served.reception.admission.bytes_in_flight == 0
