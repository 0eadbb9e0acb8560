"""The blocking client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import grpc

from steersman.client.calls import ClientCalls
from steersman.client.channel import ChannelOption, channel_options
from steersman.client.core import Ambient, Caller
from steersman.client.description import Mode
from steersman.client.drivers import Blocking, BlockingDriver, blocking
from steersman.client.handles import EpisodeCalls, PolicyCalls
from steersman.client.requests import Ask, EpisodeState, Evidence
from steersman.v1.policy_pb2_grpc import PolicyServiceStub


class PolicyClient(Blocking[ClientCalls]):
    """Asks a server for actions, blocking. Threads may share it; it has one connection.

    Args:
        target: Address of the server: "host:port", or "unix:path".
        timeout: Seconds that a call may take with its retries, unless it says otherwise; None for no limit.
        retries: How many times a call is made again at most, if the server was unavailable. With 0 no
            idempotency keys are sent.
        credentials: Of a TLS channel, from `grpc.ssl_channel_credentials`; None for an insecure one.
        options: Further gRPC channel options, which outrank the client's own.
        ambient: Time, sleep and chance, for tests.

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
        self._channel = _open(target, credentials, channel_options(target, options))
        stub = PolicyServiceStub(self._channel)
        calls = ClientCalls(Caller(target, timeout, retries, ambient))
        super().__init__(calls, BlockingDriver(lambda rpc: getattr(stub, rpc), ambient))

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
    ) -> Policy:
        """A handle of one policy, with how its actions are usually wanted."""
        return Policy(PolicyCalls(self._calls, name, Ask(mode, version, evidence)), self._driver)

    def close(self) -> None:
        """Ends the connection; calls in flight are cancelled."""
        self._calls.caller.closed = True
        self._channel.close()

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


def _open(
    target: str, credentials: grpc.ChannelCredentials | None, options: list[ChannelOption]
) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)
