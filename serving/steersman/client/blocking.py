"""The blocking client."""

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
from steersman.client.drivers import BLOCKING_TOOLS, BlockingDriver
from steersman.client.effects import Ambient
from steersman.client.handles import EpisodeCalls, PolicyCalls
from steersman.client.hedging import HedgeAfter
from steersman.client.methods import Blocking, blocking
from steersman.client.replicas import ReplicaStatus
from steersman.client.requests import Ask, EpisodeState, Evidence, Version
from steersman.client.security import Security
from steersman.client.streams import MAX_IN_FLIGHT
from steersman.client.wires import BlockingWire, Targets, plan


class PolicyClient(Blocking[ClientCalls]):
    """Asks a server for actions, blocking. Threads may share it; it has one connection to each server.

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
        with PolicyClient("127.0.0.1:50051") as client:
            decision = client.act("cartpole", [0.1, 0.0, 0.02, 0.0])
            print(decision.action, decision.source, decision.version)
    """

    act = blocking(ClientCalls.act)
    act_batch = blocking(ClientCalls.act_batch)
    describe = blocking(ClientCalls.describe)
    policies = blocking(ClientCalls.policies)
    report = blocking(ClientCalls.report)
    wait_until_ready = blocking(ClientCalls.wait_until_ready)

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
        caller = Caller(channels.targets, timeout, retries, BLOCKING_TOOLS, ambient, hedge_after)
        self._wire = BlockingWire(channels)
        calls = ClientCalls(caller, coalescer(coalesce, ambient.clock))
        super().__init__(calls, BlockingDriver(self._wire, ambient))

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
    ) -> Policy:
        """A handle of one policy, with how its actions are usually wanted.

        Args:
            name: Name of the policy.
            mode: "greedy" or "sampled".
            version: A version, or a label such as "champion", instead of the one that routing would choose.
            evidence: What is wanted beside the action: any of "value", "entropy", "distribution".
            check: Has to agree before an action is handed out: `steersman.local_check.LocalCheck`.
        """
        calls = PolicyCalls(self._calls.checked(check), name, Ask(mode, version, evidence))
        return Policy(calls, self._driver)

    def stream(self, *, max_in_flight: int = MAX_IN_FLIGHT) -> ActStream:
        """A stream for many calls: cheaper than one call each, and it keeps episodes by their names.

        Args:
            max_in_flight: Calls that may be unanswered; further ones wait.
        """
        return ActStream(self._calls.streaming(max_in_flight), self._driver)

    def close(self) -> None:
        """Ends the connections; calls in flight are cancelled."""
        self._calls.caller.closed.set()
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Policy(Blocking[PolicyCalls]):
    """One policy of a server, used as in gymnasium.

    Example:
        policy = client.policy("cartpole")
        decision = policy.act(observation, mask=[True, False])
    """

    act = blocking(PolicyCalls.act)
    act_batch = blocking(PolicyCalls.act_batch)
    describe = blocking(PolicyCalls.describe)

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self._calls.name

    def episode(self, episode_id: str | None = None) -> Episode:
        """A new episode, named by a random UUID unless a name is given."""
        return Episode(self._calls.new_episode(episode_id), self._driver)

    def stream(self, *, max_in_flight: int = MAX_IN_FLIGHT) -> PolicyStream:
        """The same policy over a stream, as `PolicyClient.stream` has it."""
        return PolicyStream(self._calls.streaming(max_in_flight), self._driver)


class Episode(Blocking[EpisodeCalls]):
    """One episode: carries its name, step and the server's token from step to step. Not for several threads.

    Example:
        with policy.episode() as episode:
            observation, info = env.reset()
            while not done:
                observation, reward, terminated, truncated, info = env.step(episode.act(observation).action)
                done = terminated or truncated
    """

    act = blocking(EpisodeCalls.act)

    @property
    def state(self) -> EpisodeState:
        """Its name, step and token; `act_batch` takes these, one per row."""
        return self._calls.state

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._calls.ended = True


class ActStream(Blocking[ClientCalls]):
    """Calls over one stream, with the results and errors of single calls. Threads may share it.

    An episode's name is enough to go on with it: the stream keeps its step and token.

    Example:
        with client.stream() as stream:
            decision = stream.act("cartpole", observation, episode_id="7")
    """

    act = blocking(ClientCalls.act)
    act_batch = blocking(ClientCalls.act_batch)

    def policy(
        self,
        name: str,
        *,
        mode: Mode = "greedy",
        version: Version | None = None,
        evidence: Sequence[Evidence] = (),
        check: ActionCheck | None = None,
    ) -> Policy:
        """A handle of one policy, whose calls go over the stream."""
        calls = PolicyCalls(self._calls.checked(check), name, Ask(mode, version, evidence))
        return Policy(calls, self._driver)

    def forget(self, policy: str, episode_id: str) -> None:
        """The episode has ended; the next one of that name begins anew."""
        self._calls.forget(policy, episode_id)

    def close(self) -> None:
        """Takes no new calls; those in flight are still answered."""
        self._calls.close_stream()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class PolicyStream(Policy):
    """One policy over one stream.

    Example:
        with client.policy("cartpole").stream() as policy:
            decision = policy.act(observation, episode_id="7")
    """

    def forget(self, episode_id: str) -> None:
        """The episode has ended; the next one of that name begins anew."""
        self._calls.client.forget(self.name, episode_id)

    def close(self) -> None:
        """Takes no new calls; those in flight are still answered."""
        self._calls.client.close_stream()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
