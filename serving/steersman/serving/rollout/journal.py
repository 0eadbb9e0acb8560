"""What goes into the store and comes out of it: deployments in force, changes, entries of the history."""

from __future__ import annotations

from dataclasses import dataclass

from steersman.serving.rollout.state import DeploymentState


@dataclass(frozen=True, slots=True)
class Stored:
    """A deployment in force.

    Attributes:
        state: The deployment.
        seed_digest: Digest of the file that was last applied to it at a start.
        cut_revision: The last revision that cut the episodes of the lanes that it closed; 0 for none.
    """

    state: DeploymentState
    seed_digest: str
    cut_revision: int = 0

    def cuts_since(self, known: DeploymentState | None) -> bool:
        """Whether episodes have been cut since a host knew this state of the policy; None for no state."""
        return known is not None and known.revision < self.cut_revision


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells a deployment in force from an earlier one, without reading it."""

    revision: int
    rollout_id: str
    epoch: int

    @staticmethod
    def of(state: DeploymentState) -> Mark:
        """The mark of a state."""
        return Mark(state.revision, state.rollout_id, state.epoch)


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
        cuts: Whether it cuts the episodes of the lanes that it closes.
    """

    state: DeploymentState
    action: str
    actor: str
    reason: str
    lines: tuple[str, ...]
    at_unix_nanos: int
    cuts: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A change that was made. Its document may be of an earlier release, so it is kept as text.

    Attributes:
        id: Its number.
        policy: Name of the policy.
        revision: The revision that it made; 0 where it changed no deployment.
        at_unix_nanos: When.
        actor: Who.
        action: What was done.
        reason: Why.
        changes: What was changed, in lines for people.
        document: The deployment that it made, JSON; or the override, or nothing.
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
