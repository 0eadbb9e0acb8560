"""The gate on a real grpcio server in this process: who passes, who does not, and what those learn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.serving.errors import Code
from steersman.serving.messages import TlsFiles
from steersman.serving.rpc.security import OPEN_SERVICES, Gate, needed_role
from steersman.serving.rpc.tls import listen
from steersman.serving.security.access import AccessList, Caller, Role, current_caller, new_token, token_hash
from support.certificates import Authority, Pem

TOKENS = {role: new_token() for role in Role}
CALLERS = AccessList(
    callers=tuple(
        Caller(name=f"the-{role}", role=role, sha256=token_hash(token)) for role, token in TOKENS.items()
    )
)
POLICY, CONTROL = "steersman.v1.PolicyService", "steersman.v1.ControlService"
ACT, STREAM, WORDS = f"/{POLICY}/Act", f"/{POLICY}/ActStream", f"/{POLICY}/Words"
APPLY, REFRESH = f"/{CONTROL}/ApplyDeployment", f"/{CONTROL}/RefreshRepository"
HEALTH = "/grpc.health.v1.Health/Check"
UNKNOWN = "/steersman.v1.NewService/Do"


def who() -> bytes:
    """The caller as a method sees it."""
    caller = current_caller()
    return caller.name.encode() if caller else b"nobody"


async def unary(_: bytes, context: Any) -> bytes:
    return who()


async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for _ in requests:
        yield who()


async def written(_: Any, context: Any) -> None:
    await context.write(who())


def handlers() -> tuple[grpc.GenericRpcHandler[Any, Any], ...]:
    """One method of each kind, requests and answers as bytes."""
    one = grpc.unary_unary_rpc_method_handler(unary)  # type: ignore[arg-type]
    many = {
        "Act": one,
        "ActStream": grpc.stream_stream_rpc_method_handler(stream),  # type: ignore[arg-type]
        "Words": grpc.unary_stream_rpc_method_handler(written),  # type: ignore[arg-type]
    }
    return (
        grpc.method_handlers_generic_handler(POLICY, many),
        grpc.method_handlers_generic_handler(CONTROL, {"ApplyDeployment": one, "RefreshRepository": one}),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": one}),
        grpc.method_handlers_generic_handler("steersman.v1.NewService", {"Do": one}),
    )


class Asking:
    """A server behind a gate, and a channel to it."""

    def __init__(self, gate: Gate, channel: grpc.aio.Channel) -> None:
        self.gate = gate
        self._channel = channel

    async def one(self, method: str, *headers: tuple[str, str]) -> bytes:
        answer: bytes = await self._channel.unary_unary(method)(b"", metadata=headers, timeout=20)
        return answer

    async def first_of_stream(self, method: str, *headers: tuple[str, str]) -> bytes:
        call = self._channel.stream_stream(method)(metadata=headers, timeout=20)
        await call.write(b"")
        return bytes(await call.read())

    async def first_word(self, method: str, *headers: tuple[str, str]) -> bytes:
        return bytes(await self._channel.unary_stream(method)(b"", metadata=headers, timeout=20).read())


@asynccontextmanager
async def serving(
    gate: Gate, tls: TlsFiles | None = None, credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[Asking]:
    server = grpc.aio.server(interceptors=[gate])
    server.add_generic_rpc_handlers(handlers())
    target = f"localhost:{listen(server, 'localhost:0', tls)}"
    await server.start()
    open_channel = (
        grpc.aio.insecure_channel(target)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials)
    )
    async with open_channel as channel:
        yield Asking(gate, channel)
    await server.stop(None)


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    async with serving(Gate(CALLERS)) as made:
        yield made


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


async def failure(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str, str]:
    """Status, reason and message of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailing = dict(caught.value.trailing_metadata() or ())
    return caught.value.code(), str(trailing.get("steersman-reason")), str(caught.value.details())


@pytest.mark.parametrize(
    ("method", "least"),
    [(ACT, Role.DECIDE), (APPLY, Role.OPERATE), (REFRESH, Role.ADMIN), (UNKNOWN, Role.ADMIN)],
)
async def test_each_method_needs_its_role(asking: Asking, method: str, least: Role) -> None:
    for role, token in TOKENS.items():
        if list(Role).index(role) >= list(Role).index(least):
            assert await asking.one(method, bearer(token)) == f"the-{role}".encode()
        else:
            code, reason, message = await failure(asking.one(method, bearer(token)))
            assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "permission_denied")
            assert message == f"this call needs the role {least}"


async def test_health_answers_everybody_and_asks_nobody(asking: Asking) -> None:
    assert await asking.one(HEALTH) == b"nobody"
    assert await asking.one(HEALTH, bearer("stm_wrong")) == b"nobody"


async def test_streams_of_every_kind_know_their_caller(asking: Asking) -> None:
    token = bearer(TOKENS[Role.DECIDE])
    assert await asking.first_of_stream(STREAM, token) == b"the-decide"
    assert await asking.first_word(WORDS, token) == b"the-decide"


WRONG = [
    (),
    (bearer(new_token()),),
    (bearer(token_hash(TOKENS[Role.ADMIN])),),
    (("authorization", TOKENS[Role.ADMIN]),),
    (("authorization", f"Basic {TOKENS[Role.ADMIN]}"),),
    (("authorization", ""),),
    (("token", TOKENS[Role.ADMIN]),),
    (bearer(TOKENS[Role.ADMIN]), bearer(new_token())),
    (bearer(TOKENS[Role.ADMIN] + "x"),),
]


@pytest.mark.parametrize("headers", WRONG)
async def test_who_is_not_known_learns_nothing_else(
    asking: Asking, headers: tuple[tuple[str, str], ...]
) -> None:
    seen = {
        await failure(call)
        for call in (
            asking.one(ACT, *headers),
            asking.one(REFRESH, *headers),
            asking.one("/steersman.v1.PolicyService/None", *headers),
            asking.first_word(WORDS, *headers),
            asking.first_of_stream(STREAM, *headers),
        )
    }
    ((code, reason, message),) = seen
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    assert message == "this server answers callers that it knows; expected their token"


async def test_a_stream_is_refused_before_its_first_message(asking: Asking) -> None:
    call = asking._channel.stream_stream(STREAM)(timeout=20)
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_refused_calls_are_counted() -> None:
    refused: list[tuple[str, Code]] = []
    async with serving(Gate(CALLERS, lambda *told: refused.append(told))) as asking:
        await failure(asking.one(ACT))
        await failure(asking.one(APPLY, bearer(TOKENS[Role.DECIDE])))
        await asking.one(ACT, bearer(TOKENS[Role.DECIDE]))
    assert refused == [(ACT, Code.UNAUTHENTICATED), (APPLY, Code.PERMISSION_DENIED)]


async def test_other_callers_are_known_from_the_next_call_on(asking: Asking) -> None:
    token = new_token()
    await failure(asking.one(ACT, bearer(token)))
    asking.gate.replace(AccessList(callers=(Caller(name="new", role=Role.DECIDE, sha256=token_hash(token)),)))
    assert await asking.one(ACT, bearer(token)) == b"new"
    await failure(asking.one(ACT, bearer(TOKENS[Role.DECIDE])))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def tls(tmp_path: Any, authority: Authority) -> TlsFiles:
    """Files of a listener that asks for certificates."""
    certificate, key = authority.issue("server").write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    return TlsFiles(certificate=str(certificate), key=str(key), client_ca=str(tmp_path / "ca.pem"))


CERTIFIED = AccessList(
    callers=(*CALLERS.callers, Caller(name="robot", role=Role.DECIDE, certificate="robot.example"))
)


def showing(authority: Authority, pem: Pem) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(authority.pem, pem.key, pem.certificate)


async def test_a_certificate_is_as_good_as_a_token(tls: TlsFiles, authority: Authority) -> None:
    robot = showing(authority, authority.issue("robot.example"))
    refused: list[tuple[str, Code]] = []
    async with serving(Gate(CERTIFIED, lambda *told: refused.append(told)), tls, robot) as asking:
        assert await asking.one(ACT) == b"robot"
        assert await asking.first_of_stream(STREAM) == b"robot"
        assert await asking.first_word(WORDS) == b"robot"
        assert (await failure(asking.one(APPLY)))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert await asking.one(APPLY, bearer(TOKENS[Role.ADMIN])) == b"the-admin"
        assert (await failure(asking.one(ACT, bearer(new_token()))))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert (await failure(asking.one(f"/{POLICY}/None")))[0] is grpc.StatusCode.UNIMPLEMENTED
    assert [method for method, _ in refused] == [APPLY, ACT]


async def test_a_certificate_of_another_name_is_not_known(tls: TlsFiles, authority: Authority) -> None:
    stranger = showing(authority, authority.issue("stranger.example"))
    async with serving(Gate(CERTIFIED), tls, stranger) as asking:
        none = asking.one(f"/{POLICY}/None")
        for call in (asking.one(ACT), asking.first_of_stream(STREAM), asking.first_word(WORDS), none):
            assert (await failure(call))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert await asking.one(HEALTH) == b"nobody"


async def test_a_name_counts_only_where_a_certificate_was_checked() -> None:
    async with serving(Gate(CERTIFIED)) as asking:
        headers = (("x509_common_name", "robot.example"),)
        assert (await failure(asking.one(ACT, *headers)))[0] is grpc.StatusCode.UNAUTHENTICATED


@given(st.text(max_size=60))
def test_no_path_is_open_by_mistake(path: str) -> None:
    service = path[1:].partition("/")[0]
    assert needed_role(path) is not None or service in OPEN_SERVICES
