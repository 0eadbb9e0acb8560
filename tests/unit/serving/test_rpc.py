"""The wire: `PolicyService` on real servers of both transports in this process, asked by a plain stub."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from steersman.serving.errors import CallError
from steersman.serving.messages import TransportKind
from steersman.serving.rpc.convert import decode_call
from steersman.v1 import policy_pb2 as pb
from steersman.v1 import policy_pb2_grpc as rpc
from support.transports import serving
from unit.serving.conftest import KitMaker

NAN = float("nan")
FALLBACK = {"fallback": [{"constant": 1}]}


@pytest.fixture(params=["grpcio", "native"])
async def channel(kit: KitMaker, request: pytest.FixtureRequest) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of the toy policies."""
    kind: TransportKind = request.param
    engine = kit(toy=FALLBACK, max_rows=64).engine
    async with serving(engine, kind) as served, grpc.aio.insecure_channel(served.address) as open_channel:
        yield open_channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> rpc.PolicyServiceAsyncStub:
    """A plain stub."""
    return rpc.PolicyServiceStub(channel)  # type: ignore[return-value]


def tensor(array: object, dtype: str = "float32") -> pb.Tensor:
    """An array as raw bytes."""
    values = np.asarray(array, dtype)
    return pb.Tensor(
        dtype=pb.DType.Value(f"DTYPE_{dtype.upper()}"), shape=values.shape, data=values.tobytes()
    )


async def failure(call: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str, str]:
    """Status, reason and message of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailing = dict(caught.value.trailing_metadata() or ())
    return caught.value.code(), str(trailing.get("steersman-reason")), str(caught.value.details())


async def test_one_observation(stub: rpc.PolicyServiceAsyncStub) -> None:
    answer = await stub.Act(pb.ActRequest(policy="toy", observation=tensor([1, 3, 2, 0]), correlation_id=7))
    assert list(answer.action.shape) == [1]
    assert np.frombuffer(answer.action.data, "<i8").tolist() == [1]
    assert (list(answer.sources), list(answer.reasons)) == ([pb.SOURCE_POLICY], [""])
    assert (list(answer.versions), list(answer.lanes)) == ([1], ["stable"])
    assert len(answer.decision_ids) == 16
    assert answer.correlation_id == 7


async def test_a_batch_with_a_failing_row_is_ok_and_names_the_row(stub: rpc.PolicyServiceAsyncStub) -> None:
    request = pb.ActRequest(
        policy="toy",
        observation=tensor([[1, 3, 2, 0], [1, 3, 2, 0]]),
        action_mask=tensor([[False] * 3, [True, False, True]], "bool"),
    )
    answer = await stub.Act(request)
    assert np.frombuffer(answer.action.data, "<i8").tolist() == [0, 2]
    (error,) = answer.errors
    assert (error.row, error.reason) == (0, "mask_all_false")
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert answer.sources[0] == pb.SOURCE_UNSPECIFIED


async def test_numbers_by_hand_are_answered_with_numbers(stub: rpc.PolicyServiceAsyncStub) -> None:
    """What a person types into grpcurl."""
    typed = {
        "policy": "toy",
        "observation": {"values": [1, 3, 2, 0]},
        "actionMask": {"values": [1, 0, 1]},
        "evidence": ["EVIDENCE_VALUE"],
    }
    answer = await stub.Act(json_format.Parse(json.dumps(typed), pb.ActRequest()))
    assert list(answer.action.values) == [2]
    assert not answer.action.data
    assert list(answer.values) == pytest.approx([6.0])


async def test_a_fallback_is_an_answer_that_says_so(stub: rpc.PolicyServiceAsyncStub) -> None:
    answer = await stub.Act(pb.ActRequest(policy="toy", observation=tensor([NAN, 0, 0, 0])))
    assert list(answer.sources) == [pb.SOURCE_FALLBACK]
    assert list(answer.reasons) == ["observation_non_finite"]
    (intervention,) = answer.interventions
    assert (intervention.layer, intervention.name) == ("fallback", "constant")


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (pb.ActRequest(policy="nobody"), grpc.StatusCode.NOT_FOUND, "policy_not_found"),
        (
            pb.ActRequest(policy="toy", version=9, observation=tensor([0] * 4)),
            grpc.StatusCode.NOT_FOUND,
            "version_not_found",
        ),
        (pb.ActRequest(policy="toy"), grpc.StatusCode.INVALID_ARGUMENT, "observation_keys"),
        (
            pb.ActRequest(policy="toy", observation_dict={"x": tensor([0] * 4)}),
            grpc.StatusCode.INVALID_ARGUMENT,
            "observation_keys",
        ),
        (
            pb.ActRequest(policy="toy", observation=tensor([0] * 5)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "observation_shape",
        ),
        (
            pb.ActRequest(policy="toy", observation=tensor([0] * 4, "float64")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "dtype",
        ),
        (
            pb.ActRequest(policy="toy", observation=pb.Tensor(dtype=pb.DTYPE_FLOAT32, data=b"123")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "tensor",
        ),
        (
            pb.ActRequest(
                policy="toy", observation=pb.Tensor(dtype=pb.DTYPE_FLOAT32, data=b"1234", values=[1.0])
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "tensor",
        ),
        (
            pb.ActRequest(
                policy="toy", observation=pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[-1, 4], data=bytes(16))
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "tensor",
        ),
        (
            pb.ActRequest(
                policy="toy", observation=pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[2**62, 4], data=bytes(16))
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "observation_shape",
        ),
        (
            pb.ActRequest(policy="toy", observation=tensor(np.zeros((65, 4)))),
            grpc.StatusCode.INVALID_ARGUMENT,
            "row_count",
        ),
        (
            pb.ActRequest(policy="toy", observation=tensor([0] * 4), action_mask=tensor([False] * 3, "bool")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "mask_all_false",
        ),
        (
            pb.ActRequest(policy="toy", observation=tensor([0] * 4), mode=5),  # type: ignore[arg-type]
            grpc.StatusCode.INVALID_ARGUMENT,
            "mode",
        ),
        (
            pb.ActRequest(policy="toy", observation=tensor([0] * 4), evidence=[9]),  # type: ignore[list-item]
            grpc.StatusCode.INVALID_ARGUMENT,
            "evidence",
        ),
        (
            pb.ActRequest(policy="cont", observation=tensor([NAN] * 4)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "observation_non_finite",
        ),
    ],
)
async def test_what_is_wrong_is_a_status_with_a_reason(
    stub: rpc.PolicyServiceAsyncStub, request_: pb.ActRequest, code: grpc.StatusCode, reason: str
) -> None:
    found = await failure(stub.Act(request_))
    assert found[:2] == (code, reason)
    assert found[2]


async def test_a_stream_goes_on_after_a_bad_request(stub: rpc.PolicyServiceAsyncStub) -> None:
    requests = [
        pb.ActRequest(policy="toy", observation=tensor([1, 3, 2, 0]), correlation_id=1),
        pb.ActRequest(policy="nobody", correlation_id=2),
        pb.ActRequest(policy="cont", observation=tensor([0.1, 0.1, 0, 0]), correlation_id=3),
    ]
    answers = {answer.correlation_id: answer async for answer in stub.ActStream(iter(requests))}
    assert answers[1].status.code == answers[3].status.code == 0
    assert answers[2].status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert np.frombuffer(answers[3].action.data, "<f4").tolist() == pytest.approx([0.2, 0.0])


async def test_a_failed_row_in_a_stream_says_that_it_is_the_row(stub: rpc.PolicyServiceAsyncStub) -> None:
    closed = tensor([False] * 3, "bool")
    requests = [pb.ActRequest(policy="toy", observation=tensor([0] * 4), action_mask=closed)]
    (answer,) = [answer async for answer in stub.ActStream(iter(requests))]
    assert (answer.status.row, answer.status.reason) == (True, "mask_all_false")
    assert answer.errors[0].row == 0
    assert len(answer.decision_ids) == 16


async def test_a_failed_row_is_marked_in_the_trailer(stub: rpc.PolicyServiceAsyncStub) -> None:
    closed = tensor([False] * 3, "bool")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Act(pb.ActRequest(policy="toy", observation=tensor([0] * 4), action_mask=closed))
    assert dict(caught.value.trailing_metadata() or ())["steersman-row"] == "1"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Act(pb.ActRequest(policy="nobody"))
    assert "steersman-row" not in dict(caught.value.trailing_metadata() or ())


async def test_what_a_caller_sent_is_never_quoted_at_length(stub: rpc.PolicyServiceAsyncStub) -> None:
    for request in (
        pb.ActRequest(policy="toy", observation_dict={"x" * 500_000: tensor([0])}),
        pb.ActRequest(policy="toy", evidence=[9] * 50_000),  # type: ignore[list-item]
        pb.ActRequest(
            policy="toy", observation=pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[1] * 50_000, data=bytes(4))
        ),
        pb.ActRequest(policy="y" * 500_000),
    ):
        code, reason, message = await failure(stub.Act(request))
        assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
        assert reason != "None"
        assert len(message) <= 500


async def test_one_mask_may_be_for_all_rows(stub: rpc.PolicyServiceAsyncStub) -> None:
    request = pb.ActRequest(
        policy="toy",
        observation=tensor([[1, 3, 2, 0]] * 3),
        action_mask=tensor([True, False, True], "bool"),
    )
    assert np.frombuffer((await stub.Act(request)).action.data, "<i8").tolist() == [2, 2, 2]


async def test_calls_of_one_moment_are_answered_each_with_its_own(stub: rpc.PolicyServiceAsyncStub) -> None:
    rows = np.eye(4, dtype=np.float32)[np.arange(60) % 3]
    calls = [stub.Act(pb.ActRequest(policy="toy", observation=tensor(row))) for row in rows]
    actions = [np.frombuffer((await call).action.data, "<i8")[0] for call in calls]
    assert actions == [i % 3 for i in range(60)]


async def test_a_policy_describes_itself(stub: rpc.PolicyServiceAsyncStub) -> None:
    described = await stub.GetPolicy(pb.GetPolicyRequest(policy="toy"))
    (observation,) = described.observations
    assert list(observation.feature_names) == ["left", "right", "up", "down"]
    assert (described.action.kind, list(described.action.nvec)) == (pb.ACTION_KIND_DISCRETE, [3])
    assert list(described.action_mask.segments) == [3]
    assert list(described.modes) == [pb.ACTION_MODE_GREEDY, pb.ACTION_MODE_SAMPLED]
    (version,) = described.versions
    assert (version.state, version.variant) == (pb.VERSION_STATE_READY, "fp32")
    assert (await failure(stub.GetPolicy(pb.GetPolicyRequest(policy="x"))))[0] == grpc.StatusCode.NOT_FOUND


async def test_policies_are_listed_by_prefix(stub: rpc.PolicyServiceAsyncStub) -> None:
    everything = await stub.ListPolicies(pb.ListPoliciesRequest())
    assert [item.policy for item in everything.policies] == ["cont", "toy"]
    some = await stub.ListPolicies(pb.ListPoliciesRequest(prefix="t"))
    assert [item.policy for item in some.policies] == ["toy"]


async def test_outcomes_are_not_offered_yet_and_say_so(stub: rpc.PolicyServiceAsyncStub) -> None:
    code, _, _ = await failure(stub.ReportOutcome(pb.ReportOutcomeRequest()))
    assert code == grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_told_for_server_service_and_policy(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "steersman.v1.PolicyService", "toy"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    code, _, _ = await failure(health.Check(health_pb2.HealthCheckRequest(service="nobody")))
    assert code == grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services(channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    answers = [answer async for answer in stub.ServerReflectionInfo(asked)]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {"steersman.v1.PolicyService", "grpc.health.v1.Health"} <= names


def test_the_nearer_of_the_calls_deadline_and_the_requests_own_counts() -> None:
    def deadline(timeout_nanos: int, of_the_call: int) -> int:
        request = pb.ActRequest(policy="toy", timeout_nanos=timeout_nanos)
        return decode_call(request, arrived_ns=1000, deadline_ns=of_the_call).deadline_ns

    assert deadline(0, 0) == 0
    assert deadline(0, 7000) == 7000
    assert deadline(500, 0) == 1500
    assert deadline(500, 7000) == 1500
    assert deadline(9000, 7000) == 7000
    assert deadline(2**62, 7000) == 7000
    with pytest.raises(CallError, match="timeout_nanos"):
        deadline(-1, 0)
