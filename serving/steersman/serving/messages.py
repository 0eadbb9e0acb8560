"""What supervisor and workers say to each other: one JSON object a line over a private socket pair.

The supervisor starts with `Start`; the worker answers `Ready`, or `Failed` and ends. `Route` is answered by
`Routed`, `Obey` by `Obeyed`, `Access` by nothing; `BreakerChanged` comes by itself. After `Drain`, or when
the socket closes, the worker finishes what is in flight and ends.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from steersman.bundle.signature import ASK_NOBODY, Trust
from steersman.bundle.specs import Spec
from steersman.safety.commands import NO_COMMANDS, CommandList
from steersman.serving.limits import Limits
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.rollout.snapshot import RoutingSnapshot
from steersman.serving.security.access import AccessList

TransportKind = Literal["grpcio", "native"]


class TlsFiles(Spec):
    """Files of a TLS listener, PEM. With `client_ca` callers must have a certificate of that authority."""

    certificate: str
    key: str
    client_ca: str = ""


class Start(Spec):
    """What a worker needs to begin. `salt` and `keyring` are secret and are never written to a log.

    Attributes:
        slot: The worker's number.
        segment: File of the counters.
        host: Address for gRPC.
        port: Port for gRPC, shared by all workers.
        transport: What answers there.
        limits: How much it takes.
        salt: What noise and keyed ids are made from, hex.
        keyring: What episode tokens are signed with.
        episode_ttl_s: Seconds that an episode token is good for.
        cache: Folder for what has been measured on this host.
        tls: Files of the listener; None for plain text.
        access: Who may call; None for everybody.
        trust: Whose signatures bundles need.
        entry_points: Python functions that fallback chains may call.
        log_level: debug, info, warning or error.
        log_json: Whether logs are JSON.
        snapshot: What to serve.
        commands: What people have ordered in place of policies.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["start"] = "start"
    slot: int
    segment: str
    host: str
    port: int
    transport: TransportKind = "grpcio"
    limits: Limits = Limits()
    salt: Annotated[str, Field(repr=False)]
    keyring: Keyring
    episode_ttl_s: float = 86_400.0
    cache: str
    tls: TlsFiles | None = None
    access: AccessList | None = None
    trust: Trust = ASK_NOBODY
    entry_points: tuple[str, ...] = ()
    log_level: str
    log_json: bool
    snapshot: RoutingSnapshot
    commands: CommandList = NO_COMMANDS


class Access(Spec):
    """Other callers are known from now on. Only where `Start` had an access list, too."""

    type: Literal["access"] = "access"
    access: AccessList


class Route(Spec):
    """Use another snapshot."""

    type: Literal["route"] = "route"
    snapshot: RoutingSnapshot


class Obey(Spec):
    """All that people have ordered in place of policies now; what is not in it is over."""

    type: Literal["obey"] = "obey"
    commands: CommandList


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


class Obeyed(Spec):
    """The worker applies the command list of this number from the next decision on."""

    type: Literal["obeyed"] = "obeyed"
    number: int


class BreakerChanged(Spec):
    """A breaker of this worker has changed its state.

    Attributes:
        policy: Name of the policy.
        version: Its version.
        before: The state that was left: closed, open or half_open.
        after: The state that was entered.
        cause: Why, as a word.
        why: Why, for people.
    """

    type: Literal["breaker"] = "breaker"
    policy: str
    version: int
    before: str
    after: str
    cause: str
    why: str


class Failed(Spec):
    """The worker cannot start; it ends."""

    type: Literal["failed"] = "failed"
    message: str


ToWorker = Annotated[Start | Route | Access | Obey | Drain, Field(discriminator="type")]
ToSupervisor = Annotated[Ready | Routed | Obeyed | BreakerChanged | Failed, Field(discriminator="type")]
TO_WORKER: TypeAdapter[Start | Route | Access | Obey | Drain] = TypeAdapter(
    ToWorker, config=ConfigDict(hide_input_in_errors=True)
)
TO_SUPERVISOR: TypeAdapter[Ready | Routed | Obeyed | BreakerChanged | Failed] = TypeAdapter(ToSupervisor)
MAX_LINE = 64 * 1024 * 1024


def line(message: Spec) -> bytes:
    """The message as it goes over the socket."""
    return message.model_dump_json().encode() + b"\n"
