"""Every call and every error through both transports, over one engine: nobody can tell which one answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from steersman.oip import inference_pb2 as oip
from steersman.serving.errors import Code
from steersman.serving.messages import TransportKind
from steersman.serving.rpc.oip.methods import Host, oip_methods
from steersman.v1 import policy_pb2 as pb
from support.oip import infer_request, rows
from support.toy_bundle import box_contract, discrete_contract, publish_toy
from support.transports import LIMITS, Served, serving
from unit.serving.conftest import Kit

KINDS: tuple[TransportKind, ...] = ("grpcio", "native")
POLICY, OIP = "/steersman.v1.PolicyService", "/inference.GRPCInferenceService"
OK = grpc.StatusCode.OK
INVALID = grpc.StatusCode.INVALID_ARGUMENT
KEY = b"the same"
NAN = float("nan")
DEPLOYMENTS: tuple[dict[str, Any], ...] = (
    {"policy": "toy", "safety": {"fallback": [{"constant": 1}]}},
    {"policy": "cont"},
    {"policy": "slow", "batching": {"run": "thread"}, "safety": {"fallback": [{"constant": 2}]}},
)


@dataclass(frozen=True, slots=True)
class Ended:
    """All that a caller sees of a call that has ended."""

    code: grpc.StatusCode
    details: str
    trailing: tuple[tuple[str, str | bytes], ...]
    answer: bytes = b""


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """An engine with a discrete policy, a continuous one, and one whose model runs on a thread."""
    root: Path = tmp_path_factory.mktemp("transports")
    publish_toy(root / "bundles", "toy", discrete_contract())
    publish_toy(root / "bundles", "cont", box_contract())
    publish_toy(root / "bundles", "slow", discrete_contract())
    return Kit(root, DEPLOYMENTS, max_rows=LIMITS.max_rows)


@pytest.fixture
async def servers(kit: Kit) -> AsyncIterator[dict[TransportKind, Served]]:
    """A server of each transport over the same engine."""
    host = Host(lambda: kit.engine.routing, kit._segment.total, lambda: True, LIMITS)
    async with AsyncExitStack() as stack:
        yield {
            kind: await stack.enter_async_context(serving(kit.engine, kind, more=oip_methods(host)))
            for kind in KINDS
        }


Channels = Mapping[TransportKind, grpc.aio.Channel]


@pytest.fixture
async def channels(servers: Mapping[TransportKind, Served]) -> AsyncIterator[Channels]:
    """A channel to each."""
    async with AsyncExitStack() as stack:
        yield {
            kind: await stack.enter_async_context(grpc.aio.insecure_channel(served.address))
            for kind, served in servers.items()
        }


async def ended(channel: grpc.aio.Channel, path: str, payload: bytes, **options: Any) -> Ended:
    """One unary call, bytes in and out."""
    call = channel.unary_unary(path)(payload, **{"timeout": 20.0, **options})
    code, details = await call.code(), await call.details()
    trailing = tuple((key, value) for key, value in await call.trailing_metadata() or ())
    return Ended(code, details or "", trailing, await call if code is OK else b"")


async def through_both(channels: Channels, path: str, payload: bytes, **options: Any) -> Ended:
    """What a call comes to, which is the same through both."""
    first, second = [await ended(channels[kind], path, payload, **options) for kind in KINDS]
    assert (first.code, first.details, first.trailing) == (second.code, second.details, second.trailing)
    return first if first.answer == second.answer else await _same_but_for_tokens(path, first, second)


async def _same_but_for_tokens(path: str, first: Ended, second: Ended) -> Ended:
    """Tokens hold the time of their issue; the rest of an answer does not."""
    assert path.endswith("/Act")
    answers = [pb.ActResponse.FromString(item.answer) for item in (first, second)]
    for answer in answers:
        assert answer.episode_tokens
        answer.ClearField("episode_tokens")
    assert answers[0] == answers[1]
    return first


def tensor(array: object, dtype: str = "float32") -> pb.Tensor:
    values = np.asarray(array, dtype)
    return pb.Tensor(
        dtype=pb.DType.Value(f"DTYPE_{dtype.upper()}"), shape=values.shape, data=values.tobytes()
    )


ROW = tensor([1, 3, 2, 0])
ROWS = tensor([[1, 3, 2, 0], [9, 0, 0, 0], [NAN, 0, 0, 0]])
CLOSED = tensor([False] * 3, "bool")


def act(policy: str = "toy", observation: pb.Tensor | None = ROW, rows: int = 1, **fields: Any) -> bytes:
    """A request whose decision ids are the same each time."""
    keys = [KEY + bytes([row]) for row in range(rows)]
    request = pb.ActRequest(policy=policy, observation=observation, idempotency_keys=keys, **fields)
    return request.SerializeToString()


ANSWERED = {
    "one row": act(),
    "another policy": act("cont"),
    "on a thread": act("slow"),
    "plain numbers": act(observation=pb.Tensor(values=[1, 3, 2, 0])),
    "rows, one of them the fallback's": act(observation=ROWS, rows=3),
    "sampled": act(mode=pb.ACTION_MODE_SAMPLED),
    "sampled on a thread": act("slow", mode=pb.ACTION_MODE_SAMPLED),
    "all evidence": act(evidence=[1, 2, 3], mode=pb.ACTION_MODE_SAMPLED),
    "masked": act(action_mask=tensor([True, False, True], "bool")),
    "a row that fails beside one that does not": act(
        observation=tensor([[1, 3, 2, 0]] * 2), rows=2, action_mask=tensor([[False] * 3, [True] * 3], "bool")
    ),
    "an episode": act(episode_ids=["e"], steps=[0], episode_starts=[True]),
    "a version": act(version=1),
    "a correlation id": act(correlation_id=2**63),
    "as many rows as may be": act(observation=tensor(np.zeros((64, 4))), rows=64),
}

REFUSED = {
    "unknown policy": (act("nobody"), grpc.StatusCode.NOT_FOUND),
    "no policy": (act(""), grpc.StatusCode.NOT_FOUND),
    "unknown version": (act(version=9), grpc.StatusCode.NOT_FOUND),
    "unknown label": (act(version_label="champion"), None),
    "broken protobuf": (b"\x0a\xff\xff", INVALID),
    "not protobuf": (b"hello", INVALID),
    "nothing": (b"", grpc.StatusCode.NOT_FOUND),
    "no observation": (act(observation=None), INVALID),
    "wrong dtype": (act(observation=tensor([1, 3, 2, 0], "float64")), INVALID),
    "wrong shape": (act(observation=tensor([1, 3, 2])), INVALID),
    "wrong size": (act(observation=pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[4], data=bytes(15))), INVALID),
    "huge shape": (act(observation=pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=[2**62, 4])), INVALID),
    "wrong keys": (pb.ActRequest(policy="toy", observation_dict={"x": ROW}).SerializeToString(), INVALID),
    "both kinds of numbers": (act(observation=pb.Tensor(dtype=11, data=bytes(16), values=[1])), INVALID),
    "mask too narrow": (act(action_mask=tensor([True], "bool")), INVALID),
    "mask all false": (act(action_mask=CLOSED), INVALID),
    "mask all false on a thread": (act("slow", action_mask=CLOSED), INVALID),
    "mask for continuous actions": (act("cont", action_mask=CLOSED), INVALID),
    "not finite and no fallback": (act("cont", observation=tensor([NAN] * 4)), INVALID),
    "no rows": (act(observation=tensor(np.zeros((0, 4))), rows=0), INVALID),
    "too many rows": (act(observation=tensor(np.zeros((65, 4))), rows=65), INVALID),
    "unknown mode": (act(mode=7), INVALID),
    "unknown evidence": (act(evidence=[9]), INVALID),
    "columns of other lengths": (act(episode_ids=["a", "b"]), INVALID),
    "a key twice": (
        pb.ActRequest(
            policy="toy", observation=tensor(np.zeros((2, 4))), idempotency_keys=[b"k", b"k"]
        ).SerializeToString(),
        INVALID,
    ),
    "a token that nobody made": (act(episode_ids=["e"], episode_tokens=[b"forged"], steps=[1]), None),
    "quotes that must be escaped": (act("ü%\n\"'\x00" * 3), grpc.StatusCode.NOT_FOUND),
}


@pytest.mark.parametrize("payload", ANSWERED.values(), ids=ANSWERED.keys())
async def test_the_same_answer(channels: Channels, payload: bytes) -> None:
    found = await through_both(channels, f"{POLICY}/Act", payload)
    assert found.code is OK
    assert pb.ActResponse.FromString(found.answer).decision_ids


@pytest.mark.parametrize(("payload", "code"), REFUSED.values(), ids=REFUSED.keys())
async def test_the_same_refusal(channels: Channels, payload: bytes, code: grpc.StatusCode | None) -> None:
    found = await through_both(channels, f"{POLICY}/Act", payload)
    assert found.code is not OK
    assert code is None or found.code is code
    assert found.details
    assert dict(found.trailing)["steersman-reason"]


OTHERS = {
    "GetPolicy": (f"{POLICY}/GetPolicy", pb.GetPolicyRequest(policy="toy"), OK),
    "GetPolicy of nobody": (
        f"{POLICY}/GetPolicy",
        pb.GetPolicyRequest(policy="x"),
        grpc.StatusCode.NOT_FOUND,
    ),
    "ListPolicies": (f"{POLICY}/ListPolicies", pb.ListPoliciesRequest(prefix="t"), OK),
    "ReportOutcome": (f"{POLICY}/ReportOutcome", pb.ReportOutcomeRequest(), grpc.StatusCode.UNIMPLEMENTED),
    "ServerLive": (f"{OIP}/ServerLive", oip.ServerLiveRequest(), OK),
    "ServerReady": (f"{OIP}/ServerReady", oip.ServerReadyRequest(), OK),
    "ServerMetadata": (f"{OIP}/ServerMetadata", oip.ServerMetadataRequest(), OK),
    "ModelReady": (f"{OIP}/ModelReady", oip.ModelReadyRequest(name="toy"), OK),
    "ModelMetadata": (f"{OIP}/ModelMetadata", oip.ModelMetadataRequest(name="toy"), OK),
    "ModelConfig": (f"{OIP}/ModelConfig", oip.ModelConfigRequest(name="toy"), OK),
    "ModelStatistics": (f"{OIP}/ModelStatistics", oip.ModelStatisticsRequest(name="toy"), OK),
    "RepositoryIndex": (f"{OIP}/RepositoryIndex", oip.RepositoryIndexRequest(), OK),
    "ModelInfer of nobody": (f"{OIP}/ModelInfer", oip.ModelInferRequest(), grpc.StatusCode.NOT_FOUND),
    "unknown method": (f"{POLICY}/Decide", None, grpc.StatusCode.UNIMPLEMENTED),
    "unknown service": ("/steersman.v9.PolicyService/Act", None, grpc.StatusCode.UNIMPLEMENTED),
    "a stream's method asked as unary": (
        "/grpc.health.v1.Health/Nothing",
        None,
        grpc.StatusCode.UNIMPLEMENTED,
    ),
    "health": ("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(service="toy"), OK),
    "health of nobody": (
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(service="x"),
        grpc.StatusCode.NOT_FOUND,
    ),
}


@pytest.mark.parametrize(("path", "request_", "code"), OTHERS.values(), ids=OTHERS.keys())
async def test_every_other_method(
    channels: Channels, path: str, request_: Message | None, code: grpc.StatusCode
) -> None:
    payload = b"" if request_ is None else request_.SerializeToString()
    assert (await through_both(channels, path, payload)).code is code


@pytest.mark.parametrize("method", ["GetPolicy", "ListPolicies", "ReportOutcome"])
async def test_bytes_that_are_no_message(channels: Channels, method: str) -> None:
    found = await through_both(channels, f"{POLICY}/{method}", b"\xff\xff")
    assert found.code is INVALID
    assert dict(found.trailing)["steersman-reason"] == "malformed_message"


async def test_model_infer(channels: Channels) -> None:
    inputs = {"obs": rows(), "idempotency_key": [KEY]}
    request = infer_request(inputs, outputs=["action", "decision_id", "source"], id="7")
    found = await through_both(channels, f"{OIP}/ModelInfer", request.SerializeToString())
    assert found.code is OK, found.details
    assert oip.ModelInferResponse.FromString(found.answer).id == "7"


async def test_a_message_that_is_too_large(channels: Channels) -> None:
    found = await through_both(channels, f"{POLICY}/Act", bytes(LIMITS.max_message_bytes + 1))
    assert found.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in found.details


async def test_a_message_as_large_as_may_be(channels: Channels) -> None:
    found = await through_both(channels, f"{POLICY}/Act", bytes(LIMITS.max_message_bytes))
    assert found.code is INVALID


@pytest.fixture
def stuck(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The model of `slow` gives no answer for as long as a test lasts."""
    free, decide = threading.Event(), kit.engine.decide

    def stuck(calls: Any, claim: Any = None) -> Any:
        if claim is not None:
            free.wait(60.0)
        return decide(calls, claim)

    monkeypatch.setattr(kit.engine, "decide", stuck)
    yield
    free.set()


@pytest.mark.usefixtures("stuck")
async def test_a_stuck_model_is_answered_by_the_fallback_before_the_deadline(
    channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The margin is most of the deadline, so that a busy machine has the time to bring the answer."""
    monkeypatch.setattr("steersman.serving.dispatching.dispatcher.MARGIN_NS", 19_700_000_000)
    found = await through_both(channels, f"{POLICY}/Act", act("slow"), timeout=20.0)
    assert list(pb.ActResponse.FromString(found.answer).reasons) == ["deadline_too_near"]


@pytest.mark.usefixtures("stuck")
async def test_a_request_of_a_stream_has_a_deadline_of_its_own(channels: Channels) -> None:
    hurried = pb.ActRequest.FromString(act("slow"))
    hurried.timeout_nanos, hurried.correlation_id = 300_000_000, 1
    for channel in channels.values():
        patient, answer = await streamed(channel, [act(), hurried.SerializeToString()])
        assert list(patient.sources) == [pb.SOURCE_POLICY]
        assert list(answer.reasons) == ["deadline_too_near"]


async def test_a_deadline_too_near_for_the_model_is_answered_by_the_fallback(
    channels: Channels, kit: Kit
) -> None:
    """A deadline that is only forecast to be missed, so that the answer still comes."""
    runtime = kit.engine.routing.policies["slow"]
    loaded = runtime.lanes[0].loaded
    known = dict(loaded.timings)
    object.__setattr__(loaded, "timings", {1: 60.0})
    kit.engine.swap(type(kit.engine.routing)(2, kit.engine.routing.policies))
    try:
        found = await through_both(channels, f"{POLICY}/Act", act("slow"), timeout=20.0)
    finally:
        object.__setattr__(loaded, "timings", known)
        kit.engine.swap(type(kit.engine.routing)(3, kit.engine.routing.policies))
    answer = pb.ActResponse.FromString(found.answer)
    assert list(answer.sources) == [pb.SOURCE_FALLBACK]
    assert list(answer.reasons) == ["deadline_too_near"]


async def test_metadata_and_compression_of_callers_make_no_difference(channels: Channels) -> None:
    metadata = (("who", "me"), ("trace-bin", b"\x00\xff"), ("who", "again"))
    plain = await through_both(channels, f"{POLICY}/Act", act())
    decorated = await through_both(
        channels, f"{POLICY}/Act", act(), metadata=metadata, compression=grpc.Compression.Gzip
    )
    assert decorated == plain


async def streamed(channel: grpc.aio.Channel, payloads: Iterable[bytes]) -> list[pb.ActResponse]:
    """The answers of a stream, in the order of their requests."""
    call = channel.stream_stream(f"{POLICY}/ActStream")(iter(list(payloads)), timeout=20.0)
    answers = [pb.ActResponse.FromString(payload) async for payload in call]
    for answer in answers:
        answer.ClearField("episode_tokens")
    return sorted(answers, key=lambda answer: answer.correlation_id)


async def test_a_stream_of_everything(channels: Channels) -> None:
    payloads = [*ANSWERED.values(), *(payload for payload, _ in REFUSED.values())]
    numbered = []
    for number, payload in enumerate(payloads, start=1):
        try:
            request = pb.ActRequest.FromString(payload)
        except Exception:  # noqa: BLE001  broken ones have no number
            continue
        request.correlation_id = number
        numbered.append(request.SerializeToString())
    first, second = [await streamed(channels[kind], numbered) for kind in KINDS]
    assert len(first) == len(numbered)
    assert first == second


async def test_many_calls_at_once_each_get_their_own(channels: Channels) -> None:
    rows = np.eye(4, dtype=np.float32)[np.arange(90) % 3]
    policies = ("toy", "slow")
    for kind in KINDS:
        calls = [
            ended(channels[kind], f"{POLICY}/Act", act(policies[number % 2], tensor(row)))
            for number, row in enumerate(rows)
        ]
        answers = [pb.ActResponse.FromString(found.answer) for found in await asyncio.gather(*calls)]
        actions = [np.frombuffer(answer.action.data, "<i8")[0] for answer in answers]
        assert actions == [number % 3 for number in range(90)]


async def test_reflection(channels: Channels) -> None:
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="steersman.v1.PolicyService"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService"),
    ]
    found = []
    for kind in KINDS:
        call = channels[kind].stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        )(iter(asked))
        found.append([payload async for payload in call])
    assert found[0] == found[1]
    assert all(b"not found" not in payload.lower() for payload in found[0])


async def test_both_count_alike(channels: Channels, servers: Mapping[TransportKind, Served]) -> None:
    for payload in (act(), act("slow"), act("nobody"), b"\xff"):
        await through_both(channels, f"{POLICY}/Act", payload)
    await through_both(channels, f"{POLICY}/GetPolicy", b"")
    expected = {
        ("Act", None): 2,
        ("Act", Code.NOT_FOUND): 1,
        ("Act", Code.INVALID_ARGUMENT): 1,
        ("GetPolicy", Code.NOT_FOUND): 1,
    }
    for kind in KINDS:
        assert servers[kind].counted == expected
        assert servers[kind].reception.admission.in_flight == 0
