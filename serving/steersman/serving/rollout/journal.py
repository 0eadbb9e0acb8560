"""What goes into the store and comes out of it: deployments in force, changes, entries of the history."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.serving.rollout.state import DeploymentState


@dataclass(frozen=True, slots=True)
class Stored:
    """A deployment in force, and the digest of the file that was last applied to it at a start."""

    state: DeploymentState
    seed_digest: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change that is to be made.

    Attributes:
        state: The state that it leads to.
        action: What was done: apply, set_share, promote, rollback.
        actor: Who.
        reason: Why.
        lines: What it changes, for people.
        at_unix_nanos: When.
    """

    state: DeploymentState
    action: str
    actor: str
    reason: str
    lines: tuple[str, ...]
    at_unix_nanos: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A change that was made. Its document may be of an earlier release, so it is kept as text.

    Attributes:
        id: Its number.
        policy: Name of the policy.
        revision: The revision that it made.
        at_unix_nanos: When.
        actor: Who.
        action: What was done.
        reason: Why.
        changes: What was changed, in lines for people.
        document: The deployment that it made, JSON.
        rollout_id: Salt of the assignment since then.
        epoch: Number of allocations by then.
    """

    id: int
    policy: str
    revision: int
    at_unix_nanos: int
    actor: str
    action: str
    reason: str
    changes: tuple[str, ...]
    document: str
    rollout_id: str
    epoch: int
