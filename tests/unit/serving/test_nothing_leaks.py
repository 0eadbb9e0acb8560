"""What callers learn of the inside, and what their words reach: nothing, over either transport."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from steersman.oip import inference_pb2 as oip
from steersman.serving.deciding.engine import Engine
from steersman.serving.rpc.oip.methods import Host, oip_methods
from steersman.v1 import policy_pb2 as pb
from steersman.v1 import policy_pb2_grpc as rpc
from support.oip import infer_request, rows
from support.transports import LIMITS, serving
from unit.serving.conftest import KitMaker

INSIDE = "/opt/steersman/secret.py"
SERVICE = "/inference.GRPCInferenceService"
Ask = Callable[[grpc.aio.Channel, str], Awaitable[Any]]


@pytest.fixture(params=["grpcio", "native"])
async def channel(kit: KitMaker, request: pytest.FixtureRequest) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of the toy policies, with both protocols."""
    made = kit(toy={"fallback": [{"constant": 1}]}, max_rows=64)
    host = Host(lambda: made.engine.routing, total=made._segment.total, ready=lambda: True, limits=LIMITS)
    async with (
        serving(made.engine, request.param, more=oip_methods(host)) as served,
        grpc.aio.insecure_channel(served.address) as open_channel,
    ):
        yield open_channel


def observation() -> pb.Tensor:
    data = np.asarray([[1, 3, 2, 0]], np.float32)
    return pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=data.shape, data=data.tobytes())


async def act(channel: grpc.aio.Channel, name: str = "toy", **fields: Any) -> Any:
    request = pb.ActRequest(policy=name, observation=observation(), **fields)
    return await rpc.PolicyServiceStub(channel).Act(request, timeout=10)  # type: ignore[misc]


async def act_stream(channel: grpc.aio.Channel, name: str = "toy") -> Any:
    call = rpc.PolicyServiceStub(channel).ActStream(timeout=10)  # type: ignore[call-arg, arg-type]
    await call.write(pb.ActRequest(policy=name, observation=observation()))  # type: ignore[attr-defined]
    return await call.read()  # type: ignore[attr-defined]


async def labelled(channel: grpc.aio.Channel, name: str) -> Any:
    return await act(channel, version_label=name)


async def episode(channel: grpc.aio.Channel, name: str) -> Any:
    return await act(channel, episode_ids=[name])


async def described(channel: grpc.aio.Channel, name: str = "toy") -> Any:
    return await rpc.PolicyServiceStub(channel).GetPolicy(pb.GetPolicyRequest(policy=name), timeout=10)  # type: ignore[misc]


async def listed(channel: grpc.aio.Channel, name: str = "") -> Any:
    return await rpc.PolicyServiceStub(channel).ListPolicies(pb.ListPoliciesRequest(prefix=name), timeout=10)  # type: ignore[misc]


async def inferred(channel: grpc.aio.Channel, name: str = "toy") -> Any:
    payload = infer_request({"obs": rows()}, model_name=name).SerializeToString()
    return await channel.unary_unary(f"{SERVICE}/ModelInfer")(payload, timeout=10)


async def versioned(channel: grpc.aio.Channel, name: str) -> Any:
    payload = infer_request({"obs": rows()}, model_version=name).SerializeToString()
    return await channel.unary_unary(f"{SERVICE}/ModelInfer")(payload, timeout=10)


async def modelled(channel: grpc.aio.Channel, name: str = "toy") -> Any:
    payload = oip.ModelMetadataRequest(name=name).SerializeToString()
    return await channel.unary_unary(f"{SERVICE}/ModelMetadata")(payload, timeout=10)


async def told(asking: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """Status of a call, and everything that its answer says."""
    try:
        answer = await asking
    except grpc.aio.AioRpcError as error:
        return error.code(), f"{error.details()} {error.trailing_metadata()} {error.debug_error_string()}"
    return grpc.StatusCode.OK, str(answer)


def fail(*_: Any, **__: Any) -> NoReturn:
    """A defect whose words must not get out."""
    raise RuntimeError(f"cannot open {INSIDE}: password=hunter2")


@pytest.mark.parametrize("broken", ["begin", "routing"])
@pytest.mark.parametrize("ask", [act, act_stream, described, listed, inferred, modelled])
async def test_a_defect_is_told_as_one_and_no_more(
    channel: grpc.aio.Channel,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[..., Awaitable[Any]],
    broken: str,
) -> None:
    defect: Any = fail if broken == "begin" else property(fail)
    with monkeypatch.context() as patched:
        patched.setattr(Engine, broken, defect, raising=False)  # a property outranks the attribute
        code, text = await told(ask(channel))
    if broken == "routing" or ask in {act, act_stream, inferred}:
        assert "internal error; the server" in text
        in_the_stream = ask is act_stream and broken == "begin"
        assert code is (grpc.StatusCode.OK if in_the_stream else grpc.StatusCode.INTERNAL)
    for word in (INSIDE, "hunter2", "Traceback", "RuntimeError", ".py", str(Path(__file__).parents[3])):
        assert word not in text
    assert (await told(act(channel)))[0] is grpc.StatusCode.OK


class Watched:
    """What this process does with the file system, while it is asked to watch."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and (
            event in {"open", "import", "exec"} or event.startswith(("os.", "glob.", "pathlib."))
        ):
            self.seen.append(f"{event} {arguments[:1]}")


@pytest.fixture(scope="module")
def watched() -> Watched:
    """A hook stays for the life of the process, so there is one."""
    return Watched()


HOSTILE = """../../etc/passwd /etc/passwd toy/../../x toy/1 . .. ~root con //h/s file:///etc/passwd
    %2e%2e%2fetc ..\\..\\x $HOME *"""
PATHS = st.sampled_from([*HOSTILE.split(), "", "toy\x00", "\u202etxt", "/" * 5000, "a" * 100_000])
NAMES = PATHS | st.text(max_size=40) | st.lists(PATHS.filter(lambda p: len(p) < 40), max_size=5).map("/".join)
EXPECTED = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}
FREE = {listed, episode}
"""Any text may begin a name, or name an episode, if it is not too long."""
SERVED = {"", "toy", "cont", "stable", "1"}
"""Policies, a lane and a version that are there, which a drawn name may be. Zeros may lead a version."""


@pytest.mark.parametrize(
    "ask", [act, act_stream, labelled, episode, described, listed, inferred, versioned, modelled]
)
@given(name=NAMES)
@example(name="../../etc/passwd")
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_name_reaches_the_file_system(
    channel: grpc.aio.Channel, watched: Watched, ask: Ask, name: str
) -> None:
    await told(act(channel))  # what is imported late is imported now
    watched.seen.clear()
    watched.on = True
    try:
        code, text = await told(ask(channel, name))
    finally:
        watched.on = False
    assert watched.seen == []
    assert "root:" not in text
    if code is grpc.StatusCode.OK:
        assert ask in FREE or ask is act_stream or name.lstrip("0") in SERVED
    else:
        assert code in EXPECTED
