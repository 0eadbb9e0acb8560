"""What people have ordered, as it is stored, and what the history says of it. Free of the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from steersman.safety.commands import KillSwitch, Override


@dataclass(frozen=True, slots=True)
class Note:
    """An entry of the history that changes no deployment.

    Attributes:
        action: What was done: set_override, clear_override, halt, resume.
        actor: Who.
        reason: Why.
        lines: What it changes, for people.
        at_unix_nanos: When.
        policy: The policy; empty for all.
        document: The override, JSON.
    """

    action: str
    actor: str
    reason: str
    lines: tuple[str, ...]
    at_unix_nanos: int
    policy: str = ""
    document: str = ""


@dataclass(frozen=True, slots=True)
class StoredCommands:
    """What is stored.

    Attributes:
        overrides: Overrides, some of which may be over.
        leases: Unix nanoseconds until which a policy may answer, by policy.
        kill_switch: None where it is off.
    """

    overrides: tuple[Override, ...] = ()
    leases: Mapping[str, int] = field(default_factory=dict)
    kill_switch: KillSwitch | None = None
