"""The asyncio client: the same calls as the blocking one, awaited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self, Unpack

import grpc

from steersman.client.calls import ClientCalls
from steersman.client.channel import ChannelOption
from steersman.client.checking import ActionCheck
from steersman.client.coalescing import Coalesce, coalescer
from steersman.client.core import Caller
from steersman.client.description import Mode
from steersman.client.drivers import AWAITING_TOOLS, AwaitingDriver
from steersman.client.effects import Ambient
from steersman.client.handles import EpisodeCalls, PolicyCalls
from steersman.client.hedging import HedgeAfter
from steersman.client.methods import Awaitable, awaited
from steersman.client.replicas import ReplicaStatus
from steersman.client.requests import Ask, EpisodeState, Evidence, Version
from steersman.client.security import Security
from steersman.client.streams import MAX_IN_FLIGHT
from steersman.client.wires import AwaitedWire, Targets, plan


class AsyncPolicyClient(Awaitable[ClientCalls]):
    """Asks a server for actions, awaiting. For one event loop: that of its first call.

    Args:
        target: Address of the server: "host:port", or "unix:path"; or the addresses of its replicas.
        timeout: Seconds that a call may take with its retries, unless it says otherwise; None for no limit.
        retries: How many times a call is made again at most, if the server was unavailable. With 0, without
            hedging and without coalescing no idempotency keys are sent.
        hedge_after: Seconds after which an `act` that has no answer is sent to a second replica as well;
            "auto" for the 95th percentile of this client's calls; None for never.
        coalesce: Merges concurrent calls of `act`; True for `Coalesce()`.
        credentials: Of a TLS channel, from `grpc.ssl_channel_credentials`; None for an insecure one.
        options: Further gRPC channel options, which outrank the client's own.
        ambient: Time, sleep and chance, for tests.
        **security: `token`, `ca`, `certificate`, `key` and `allow_insecure_token`, as `Security` says.

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

    def __init__(  # cap: parameters, each is a word that users look for
        self,
        target: Targets,
        *,
        timeout: float | None = 5.0,
        retries: int = 3,
        hedge_after: HedgeAfter = None,
        coalesce: Coalesce | bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        options: Iterable[ChannelOption] = (),
        ambient: Ambient | None = None,
        **security: Unpack[Security],
    ) -> None:
        ambient = ambient or Ambient()
        channels = plan(target, credentials, options, security)
        caller = Caller(channels.targets, timeout, retries, AWAITING_TOOLS, ambient, hedge_after)
        self._wire = AwaitedWire(channels)
        calls = ClientCalls(caller, coalescer(coalesce, ambient.clock))
        super().__init__(calls, AwaitingDriver(self._wire, ambient))

    @property
    def target(self) -> str:
        """Address of the server, or of its replicas, separated by commas."""
        return self._calls.caller.target

    @property
    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """The servers, as this client sees them now."""
        return self._calls.caller.replicas.status()

    def policy(
        self,
        name: str,
        *,
        mode: Mode = "greedy",
        version: Version | None = None,
        evidence: Sequence[Evidence] = (),
        check: ActionCheck | None = None,
    ) -> AsyncPolicy:
        """A handle of one policy, with how its actions are usually wanted.

        Args:
            name: Name of the policy.
            mode: "greedy" or "sampled".
            version: A version, or a label such as "champion", instead of the one that routing would choose.
            evidence: What is wanted beside the action: any of "value", "entropy", "distribution".
            check: Has to agree before an action is handed out: `steersman.local_check.LocalCheck`.
        """
        calls = PolicyCalls(self._calls.checked(check), name, Ask(mode, version, evidence))
        return AsyncPolicy(calls, self._driver)

    def stream(self, *, max_in_flight: int = MAX_IN_FLIGHT) -> AsyncActStream:
        """A stream for many calls: cheaper than one call each, and it keeps episodes by their names.

        Args:
            max_in_flight: Calls that may be unanswered; further ones wait.
        """
        return AsyncActStream(self._calls.streaming(max_in_flight), self._driver)

    async def close(self) -> None:
        """Ends the connections; calls in flight are cancelled."""
        self._calls.caller.closed.set()
        await self._wire.close()
        await self._driver.close()

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

    def stream(self, *, max_in_flight: int = MAX_IN_FLIGHT) -> AsyncPolicyStream:
        """The same policy over a stream, as `AsyncPolicyClient.stream` has it."""
        return AsyncPolicyStream(self._calls.streaming(max_in_flight), self._driver)


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


class AsyncActStream(Awaitable[ClientCalls]):
    """Calls over one stream, with the results and errors of single calls. For the client's event loop.

    An episode's name is enough to go on with it: the stream keeps its step and token.

    Example:
        async with client.stream() as stream:
            decision = await stream.act("cartpole", observation, episode_id="7")
    """

    act = awaited(ClientCalls.act)
    act_batch = awaited(ClientCalls.act_batch)

    def policy(
        self,
        name: str,
        *,
        mode: Mode = "greedy",
        version: Version | None = None,
        evidence: Sequence[Evidence] = (),
        check: ActionCheck | None = None,
    ) -> AsyncPolicy:
        """A handle of one policy, whose calls go over the stream."""
        calls = PolicyCalls(self._calls.checked(check), name, Ask(mode, version, evidence))
        return AsyncPolicy(calls, self._driver)

    def forget(self, policy: str, episode_id: str) -> None:
        """The episode has ended; the next one of that name begins anew."""
        self._calls.forget(policy, episode_id)

    async def close(self) -> None:
        """Takes no new calls; those in flight are still answered."""
        self._calls.close_stream()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class AsyncPolicyStream(AsyncPolicy):
    """One policy over one stream.

    Example:
        async with client.policy("cartpole").stream() as policy:
            decision = await policy.act(observation, episode_id="7")
    """

    def forget(self, episode_id: str) -> None:
        """The episode has ended; the next one of that name begins anew."""
        self._calls.client.forget(self.name, episode_id)

    async def close(self) -> None:
        """Takes no new calls; those in flight are still answered."""
        self._calls.client.close_stream()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
