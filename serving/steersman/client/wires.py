"""The channels of a client, one for each replica: all that touches the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from steersman.client.channel import ChannelOption, channel_options
from steersman.client.errors import InvalidRequestError
from steersman.client.health import WATCH_METHOD
from steersman.client.mistakes import Mistake
from steersman.client.probing import Speaks, examine
from steersman.client.security import Metadata, Security, secure
from steersman.v1.policy_pb2_grpc import PolicyServiceStub

Targets = str | Sequence[str]
"""Address of a server, or the addresses of its replicas."""


class Wire(Protocol):
    """What a driver makes calls with."""

    closed: bool

    def method(self, rpc: str, replica: int) -> Any:
        """The method of that name, on an open channel to that replica."""

    def metadata(self) -> Metadata:
        """What each call carries beside its request."""

    def examine(self, replica: int, seconds: float) -> Mistake | None:
        """What is wrong with TLS between this client and that replica, as that shows itself. Blocks."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How channels are made.

    Attributes:
        targets: One address for each replica.
        metadata: Gives what each call carries.
        open: Makes a blocking channel to a target.
        open_aio: The same for asyncio.
        speaks: What is spoken over them.
    """

    targets: tuple[str, ...]
    metadata: Callable[[], Metadata]
    open: Callable[[str], grpc.Channel]
    open_aio: Callable[[str], grpc.aio.Channel]
    speaks: Speaks

    def examine(self, replica: int, seconds: float) -> Mistake | None:
        """What is wrong with TLS between this client and that replica, as that shows itself. Blocks."""
        return examine(self.targets[replica], self.speaks, seconds)


def plan(
    target: Targets,
    credentials: grpc.ChannelCredentials | None,
    options: Iterable[ChannelOption],
    security: Security,
) -> Plan:
    """How the channels of a client are made.

    Raises:
        InvalidRequestError: There is no target, one is named twice, or the security options do not fit.
    """
    targets = (target,) if isinstance(target, str) else tuple(target)
    if not targets or len(set(targets)) < len(targets):
        found = "no address" if not targets else f"an address twice: {', '.join(targets)}"
        raise InvalidRequestError(f"target has {found}; expected one for each replica", reason="target")
    certificate = credentials is not None or "certificate" in security
    credentials, authorization = secure(targets, credentials, security)
    extra = tuple(options)

    def opened(module: Any, target: str) -> Any:
        chosen = channel_options(target, extra)
        if credentials is None:
            return module.insecure_channel(target, chosen)
        return module.secure_channel(target, credentials, chosen)

    return Plan(
        targets,
        authorization.metadata,
        lambda target: opened(grpc, target),
        lambda target: opened(grpc.aio, target),
        Speaks(tls=credentials is not None, certificate=certificate),
    )


class BlockingWire:
    """Blocking channels, which connect at the first call."""

    def __init__(self, plan: Plan) -> None:
        self.metadata = plan.metadata
        self.examine = plan.examine
        self.closed = False
        self._channels = [plan.open(target) for target in plan.targets]
        self._methods = [_methods(channel) for channel in self._channels]

    def method(self, rpc: str, replica: int) -> Any:
        """The method of that name, on that replica's channel."""
        return self._methods[replica][rpc]

    def close(self) -> None:
        """Ends the connections."""
        self.closed = True
        for channel in self._channels:
            channel.close()


class AwaitedWire:
    """Asyncio channels, opened by the first call, for they belong to the event loop that runs then."""

    def __init__(self, plan: Plan) -> None:
        self.metadata = plan.metadata
        self.examine = plan.examine
        self.closed = False
        self._plan = plan
        self._channels: list[grpc.aio.Channel] = []
        self._methods: list[dict[str, Any]] = []

    def method(self, rpc: str, replica: int) -> Any:
        """The method of that name, on that replica's channel."""
        if not self._methods:
            self._channels = [self._plan.open_aio(target) for target in self._plan.targets]
            self._methods = [_methods(channel) for channel in self._channels]
        return self._methods[replica][rpc]

    async def close(self) -> None:
        """Ends the connections, if there are any."""
        self.closed = True
        for channel in self._channels:
            await channel.close(None)


def _methods(channel: Any) -> dict[str, Any]:
    stub = PolicyServiceStub(channel)
    watch = channel.unary_stream(
        WATCH_METHOD, StringValue.SerializeToString, Int32Value.FromString, _registered_method=True
    )
    return {**vars(stub), "Watch": watch}
