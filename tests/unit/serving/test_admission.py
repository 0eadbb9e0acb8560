"""How much a worker has in flight: calls and their bytes, on both transports."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.serving.errors import Code
from steersman.serving.limits import Limits
from steersman.serving.messages import TransportKind
from steersman.serving.rpc.admission import Admission
from steersman.v1 import policy_pb2 as pb
from steersman.v1 import policy_pb2_grpc as rpc
from support.transports import serving
from unit.serving.conftest import KitMaker

MOST_BYTES = 4096


@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_what_is_in_flight_never_passes_the_bound_but_for_one_call_alone(sizes: list[int], most: int) -> None:
    admission = Admission(10, most)
    inside: list[int] = []
    for size in sizes:
        refused = admission.enter(size)
        if refused is None:
            inside.append(size)
        else:
            assert (refused.code, refused.retryable) == (Code.RESOURCE_EXHAUSTED, True)
            assert refused.retry_after_s > 0
            assert len(inside) == 10 or sum(inside) + size > most
    assert (admission.in_flight, admission.bytes_in_flight) == (len(inside), sum(inside))
    assert sum(inside) <= most or sum(size > 0 for size in inside) == 1
    admission.leave(len(inside), sum(inside))
    assert (admission.in_flight, admission.bytes_in_flight) == (0, 0)


@pytest.mark.parametrize("kind", ["grpcio", "native"])
async def test_beyond_the_bytes_in_flight_a_call_is_refused_with_a_hint(
    kit: KitMaker, kind: TransportKind
) -> None:
    limits = Limits(max_bytes_in_flight=MOST_BYTES)
    request = pb.ActRequest(policy="toy", observation=pb.Tensor(values=[1, 3, 2, 0]))
    async with (
        serving(kit().engine, kind, limits) as served,
        grpc.aio.insecure_channel(served.address) as channel,
    ):
        stub: Any = rpc.PolicyServiceStub(channel)
        admission = served.reception.admission
        admission.enter(MOST_BYTES)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Act(request)
        said: Any = caught.value.trailing_metadata()
        trailing = dict(said)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert trailing["steersman-reason"] == "too_many_bytes"
        assert int(trailing["steersman-retry-after-ms"]) > 0
        stream = stub.ActStream(iter([request]))
        (answer,) = [answer async for answer in stream]
        assert answer.status.reason == "too_many_bytes"
        admission.leave(1, MOST_BYTES)
        assert (await stub.Act(request)).status.reason == ""
    assert (admission.in_flight, admission.bytes_in_flight) == (0, 0)
