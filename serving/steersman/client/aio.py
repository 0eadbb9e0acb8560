"""The asyncio client: the same calls as the blocking one, awaited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import grpc
import grpc.aio

from steersman.client.calls import ClientCalls
from steersman.client.channel import ChannelOption, channel_options
from steersman.client.core import Ambient, Caller
from steersman.client.description import Mode
from steersman.client.drivers import Awaitable, AwaitingDriver, awaited
from steersman.client.handles import EpisodeCalls, PolicyCalls
from steersman.client.requests import Ask, EpisodeState, Evidence
from steersman.v1.policy_pb2_grpc import PolicyServiceStub


class AsyncPolicyClient(Awaitable[ClientCalls]):
    """Asks a server for actions, awaiting. For one event loop: that of its first call.

    Args:
        target: Address of the server: "host:port", or "unix:path".
        timeout: Seconds that a call may take with its retries, unless it says otherwise; None for no limit.
        retries: How many times a call is made again at most, if the server was unavailable. With 0 no
            idempotency keys are sent.
        credentials: Of a TLS channel, from `grpc.ssl_channel_credentials`; None for an insecure one.
        options: Further gRPC channel options, which outrank the client's own.
        ambient: Time, sleep and chance, for tests.

    Example:
        async with AsyncPolicyClient("127.0.0.1:50051") as client:
            decision = await client.act("cartpole", [0.1, 0.0, 0.02, 0.0])
            print(decision.action, decision.source, decision.version)
    """

    act = awaited(ClientCalls.act)
    act_batch = awaited(ClientCalls.act_batch)
    describe = awaited(ClientCalls.describe)
    policies = awaited(ClientCalls.policies)
    report = awaited(ClientCalls.report)
    wait_until_ready = awaited(ClientCalls.wait_until_ready)

    def __init__(
        self,
        target: str,
        *,
        timeout: float | None = 5.0,
        retries: int = 3,
        credentials: grpc.ChannelCredentials | None = None,
        options: Iterable[ChannelOption] = (),
        ambient: Ambient | None = None,
    ) -> None:
        ambient = ambient or Ambient()
        self._connection = _LazyConnection(target, credentials, channel_options(target, options))
        calls = ClientCalls(Caller(target, timeout, retries, ambient))
        super().__init__(calls, AwaitingDriver(self._connection.method, ambient))

    @property
    def target(self) -> str:
        """Address of the server."""
        return self._calls.caller.target

    def policy(
        self,
        name: str,
        *,
        mode: Mode = "greedy",
        version: int | None = None,
        evidence: Sequence[Evidence] = (),
    ) -> AsyncPolicy:
        """A handle of one policy, with how its actions are usually wanted."""
        return AsyncPolicy(PolicyCalls(self._calls, name, Ask(mode, version, evidence)), self._driver)

    async def close(self) -> None:
        """Ends the connection; calls in flight are cancelled."""
        self._calls.caller.closed = True
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class AsyncPolicy(Awaitable[PolicyCalls]):
    """One policy of a server, used as in gymnasium.

    Example:
        policy = client.policy("cartpole")
        decision = await policy.act(observation, mask=[True, False])
    """

    act = awaited(PolicyCalls.act)
    act_batch = awaited(PolicyCalls.act_batch)
    describe = awaited(PolicyCalls.describe)

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self._calls.name

    def episode(self, episode_id: str | None = None) -> AsyncEpisode:
        """A new episode, named by a random UUID unless a name is given."""
        return AsyncEpisode(self._calls.new_episode(episode_id), self._driver)


class AsyncEpisode(Awaitable[EpisodeCalls]):
    """One episode: carries its name, step and the server's token from step to step. One call at a time.

    Example:
        async with policy.episode() as episode:
            decision = await episode.act(observation)
    """

    act = awaited(EpisodeCalls.act)

    @property
    def state(self) -> EpisodeState:
        """Its name, step and token; `act_batch` takes these, one per row."""
        return self._calls.state

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._calls.ended = True


class _LazyConnection:
    """A channel that is opened by the first call, for it belongs to the event loop that runs then."""

    def __init__(
        self, target: str, credentials: grpc.ChannelCredentials | None, options: list[ChannelOption]
    ) -> None:
        self._target = target
        self._credentials = credentials
        self._options = options
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None

    def method(self, rpc: str) -> Any:
        """The method of that name, on an open channel."""
        if self._stub is None:
            self._channel = self._open()
            self._stub = PolicyServiceStub(self._channel)
        return getattr(self._stub, rpc)

    def _open(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._target, self._options)
        return grpc.aio.secure_channel(self._target, self._credentials, self._options)

    async def close(self) -> None:
        """Ends the connection, if there is one."""
        if self._channel is not None:
            await self._channel.close(None)
