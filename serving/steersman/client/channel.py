"""How a channel is set up: for small messages, quick reconnection, and a connection of its own."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from typing import Any

ChannelOption = tuple[str, Any]

_DEFAULTS: dict[str, Any] = {
    # Clients of one process would share one connection, and its back-off after a failure.
    "grpc.use_local_subchannel_pool": 1,
    # Messages are small: probing for bandwidth costs pings and gains nothing.
    "grpc.http2.bdp_probe": 0,
    # gRPC's own limits (20 s to connect, two minutes between attempts) are made for wide networks.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 1_000,
    "grpc.max_reconnect_backoff_ms": 2_000,
    # A batch's answer, with its evidence, may pass gRPC's 4 MiB.
    "grpc.max_receive_message_length": 64 * 1024 * 1024,
    "grpc.primary_user_agent": "steersman-client",
}

_ALL_ADDRESSES = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
"""Of a name with several addresses all are used, in turn, and not only the first that answers."""


def channel_options(target: str, extra: Iterable[ChannelOption] = ()) -> list[ChannelOption]:
    """Options of a channel to `target`; those given outrank the defaults.

    Example:
        >>> ("grpc.enable_http_proxy", 0) in channel_options("localhost:50051")
        True
    """
    options = dict(_DEFAULTS)
    if is_on_this_host(target):
        options["grpc.enable_http_proxy"] = 0  # a proxy of the environment cannot reach this host's loopback
    else:
        options["grpc.service_config"] = _ALL_ADDRESSES
    options.update(extra)
    return list(options.items())


def is_on_this_host(target: str) -> bool:
    """Whether the target is a Unix socket or a loopback address."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    address = target.rsplit("/", 1)[-1].removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:")
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
