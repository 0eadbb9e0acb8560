"""More calls of a quick policy at a time than may wait: what each transport makes of them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pygrpc_native
import pytest

from steersman.serving.decision import REASONS, Decisions, Reason
from steersman.serving.dispatching.dispatcher import Dispatcher
from steersman.serving.errors import Code
from steersman.serving.limits import Limits
from steersman.serving.rpc.admission import Admission
from steersman.serving.rpc.batcher import Batcher
from steersman.serving.rpc.methods import DecisionMethod
from steersman.serving.rpc.native import NativeServer
from steersman.serving.rpc.policy import policy_methods
from steersman.serving.rpc.reception import Reception
from steersman.v1 import policy_pb2 as pb
from unit.serving.conftest import Kit, KitMaker, make_call

FALLBACK = {"fallback": [{"constant": 1}]}
CALLS, ROOM = 5, 3
LIMITS = Limits(max_waiting_rows=ROOM)


class Front:
    """A stand-in for the library that gives one batch, then ends."""

    def __init__(self, payload: bytes) -> None:
        details = ((), "ipv4:1.2.3.4:5", None)
        self._batches: list[Any] = [
            [(pygrpc_native.EVENT_CALL, number, 0, payload, None, details) for number in range(CALLS)]
        ]
        self.answers: dict[int, pb.ActResponse] = {}

    def recv_batch_details(self, most: int, timeout_ms: int) -> Any:
        return self._batches.pop() if self._batches else None

    def respond(self, call_id: int, payload: bytes) -> bool:
        self.answers[call_id] = pb.ActResponse.FromString(payload)
        return True


@pytest.fixture
def made(kit: KitMaker) -> Kit:
    return kit(toy=FALLBACK)


async def test_grpcio_has_those_beyond_answered_by_the_fallback(made: Kit) -> None:
    batcher = Batcher(Dispatcher(made.engine, LIMITS))
    found = await asyncio.gather(*(batcher.submit(make_call([[1, 3, 2, 0]])) for _ in range(CALLS)))
    reasons = [REASONS[int(decisions.reasons[0])] for decisions in found if isinstance(decisions, Decisions)]
    assert reasons == [Reason.NONE] * ROOM + [Reason.OVERLOAD] * (CALLS - ROOM)


def test_native_does_likewise(made: Kit) -> None:
    request = pb.ActRequest(policy="toy", observation=pb.Tensor(values=[1, 3, 2, 0]))
    front, admission = Front(request.SerializeToString()), Admission(100)
    counted: list[tuple[str, Code | None, int]] = []

    def count(method: str, code: Code | None, calls: int = 1) -> None:
        counted.append((method, code, calls))

    reception = Reception(Dispatcher(made.engine, LIMITS), admission, count, LIMITS)
    act = next(m for m in policy_methods(made.engine, 1) if m.name == "Act" and isinstance(m, DecisionMethod))
    NativeServer(cast("Any", front), (act,), reception)._live()
    reasons = [list(front.answers[number].reasons) for number in range(CALLS)]
    assert reasons == [[""]] * ROOM + [["overload"]] * (CALLS - ROOM)
    assert admission.in_flight == 0
    assert sum(calls for _, _, calls in counted) == CALLS
