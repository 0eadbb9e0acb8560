"""What supervisor and workers say to each other: one JSON object a line over a private socket pair.

The supervisor starts with `Start`; the worker answers `Ready`, or `Failed` and ends. `Route` is answered by
`Routed`. After `Drain`, or when the socket closes, the worker finishes what is in flight and ends.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from steersman.bundle.signature import ASK_NOBODY, Trust
from steersman.bundle.specs import Spec
from steersman.serving.rollout.snapshot import RoutingSnapshot


class Start(Spec):
    """What a worker needs to begin. `salt` is secret (hex) and is never written to a file or a log."""

    type: Literal["start"] = "start"
    slot: int
    segment: str
    host: str
    port: int
    salt: str
    cache: str
    max_rows: int
    max_message_bytes: int
    log_level: str
    log_json: bool
    trust: Trust = ASK_NOBODY
    snapshot: RoutingSnapshot


class Route(Spec):
    """Use another snapshot."""

    type: Literal["route"] = "route"
    snapshot: RoutingSnapshot


class Drain(Spec):
    """Say NOT_SERVING, go on for `lame_duck_s` seconds, then finish within `grace_s` and end."""

    type: Literal["drain"] = "drain"
    lame_duck_s: float
    grace_s: float


class LoadedLane(Spec):
    """A lane that answers in this worker."""

    policy: str
    lane: str
    version: int
    variant: str
    digest: str


class Failure(Spec):
    """A version that could not be loaded in this worker."""

    policy: str
    version: int
    message: str


class Routed(Spec):
    """What the worker made of a snapshot."""

    type: Literal["routed"] = "routed"
    generation: int
    lanes: tuple[LoadedLane, ...]
    failures: tuple[Failure, ...] = ()


class Ready(Spec):
    """The worker answers calls."""

    type: Literal["ready"] = "ready"
    routed: Routed


class Failed(Spec):
    """The worker cannot start; it ends."""

    type: Literal["failed"] = "failed"
    message: str


ToWorker = Annotated[Start | Route | Drain, Field(discriminator="type")]
ToSupervisor = Annotated[Ready | Routed | Failed, Field(discriminator="type")]
TO_WORKER: TypeAdapter[Start | Route | Drain] = TypeAdapter(ToWorker)
TO_SUPERVISOR: TypeAdapter[Ready | Routed | Failed] = TypeAdapter(ToSupervisor)
MAX_LINE = 64 * 1024 * 1024


def line(message: Spec) -> bytes:
    """The message as it goes over the socket."""
    return message.model_dump_json().encode() + b"\n"
