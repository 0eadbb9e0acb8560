"""Watching the replicas' `grpc.health.v1.Health`, so that calls leave a replica before it refuses them.

`HealthCheckRequest` is one string and `HealthCheckResponse` one enum, each as field 1. On the wire that is
what protobuf's own `StringValue` and `Int32Value` are, so these stand in for them: the package that has the
generated messages, grpcio-health-checking, need not be there.
Source: https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from grpc import StatusCode

from steersman.client.effects import Next, Open, Park, Signal, Spawn, Steps
from steersman.client.failures import Failure
from steersman.client.replicas import Health, Replica, Replicas

Pause = Callable[[int], float]

WATCH_METHOD = "/grpc.health.v1.Health/Watch"

WHOLE_SERVER = ""
"""Name of the health service that stands for the server with all it has."""

_HEALTH = {1: Health.SERVING, 2: Health.NOT_SERVING}
_SAYS_NOTHING = frozenset(
    {
        StatusCode.UNIMPLEMENTED,  # it has no health service
        StatusCode.UNAUTHENTICATED,  # or not for us
        StatusCode.PERMISSION_DENIED,
    }
)


def watch_all(replicas: Replicas, closed: Signal, pause: Pause) -> Steps[None]:
    """Watches each replica from now on, until the signal."""
    for replica in replicas.all:
        yield Spawn(watch(replicas, replica, closed, pause))


def watch(replicas: Replicas, replica: Replica, closed: Signal, pause: Pause) -> Steps[None]:
    """Keeps what is known of one replica's health up to date.

    After the first failure the next stream waits for a connection, so nothing polls while nobody is there.

    Args:
        replicas: Is told.
        replica: Which one is watched.
        closed: Ends it.
        pause: Seconds to wait after so many failures in a row.
    """
    losses = 0
    while not closed.is_set():
        request = StringValue(value=WHOLE_SERVER)
        stream = yield Open("Watch", replica.index, request, wait_for_ready=losses > 0)
        reply = stream if isinstance(stream, Failure) else (yield Next(stream))
        while isinstance(reply, Int32Value):
            losses = 0
            replicas.hear(replica, _HEALTH.get(reply.value, Health.UNKNOWN))
            reply = yield Next(stream)
        if isinstance(reply, Failure) and reply.code in _SAYS_NOTHING:
            replicas.hear(replica, Health.UNKNOWN)
            return
        replicas.hear(replica, Health.BROKEN)
        yield Park(closed, pause(losses))
        losses += 1
