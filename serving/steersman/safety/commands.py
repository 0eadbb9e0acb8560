"""What people have ordered in place of policies, as data: overrides, the kill switch, leases.

It is what the store keeps, what every worker is told as a whole (`CommandList`), and what
`steersman.safety.overrides` compiles. Times are Unix nanoseconds, UTC. Everything ends by itself, but for the
kill switch, which somebody has to take back.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from steersman.bundle.manifest import PolicyName
from steersman.bundle.specs import Spec
from steersman.bundle.validation import Settings

OverrideKind = Literal["pin", "fallback", "freeze"]
"""`pin`: one action answers. `fallback`: the fallback chain does. `freeze`: one version does."""
Scope = Literal["policy", "lane", "episode"]
"""What an override is for, from the widest to the narrowest; the narrowest one wins."""
MOST_OVERRIDES = 1000
"""In force at a time, on all policies."""


class Override(Spec):
    """What somebody ordered for a policy, one of its lanes, or one episode.

    Attributes:
        id: What it is cleared by.
        policy: The policy.
        lane: Its lane; empty for all, or where it is for an episode.
        episode_id: Its episode; empty for all.
        kind: What is ordered.
        action: Of a pin: the action as deployments write it.
        version: Of a freeze: the version.
        actor: Who.
        reason: Why.
        set_unix_nanos: Since when.
        expires_unix_nanos: Until when; at that time it is over.
    """

    id: str
    policy: PolicyName
    lane: str = ""
    episode_id: str = ""
    kind: OverrideKind
    action: JsonValue = None
    version: Annotated[int, Field(ge=0)] = 0
    actor: str
    reason: str
    set_unix_nanos: int
    expires_unix_nanos: int

    @model_validator(mode="after")
    def _whole(self) -> Override:
        if self.lane and self.episode_id:
            msg = "lane and episode_id are both given; expected one of them, or neither"
            raise ValueError(msg)
        if (self.action is not None) != (self.kind == "pin") or bool(self.version) != (self.kind == "freeze"):
            msg = "a pin has an action, a freeze has a version, and nothing else has either"
            raise ValueError(msg)
        return self

    @property
    def scope(self) -> Scope:
        """What it is for."""
        return "episode" if self.episode_id else "lane" if self.lane else "policy"

    @property
    def target(self) -> tuple[str, str, str]:
        """Policy, lane and episode. There is one override for a target at a time."""
        return self.policy, self.lane, self.episode_id


class KillSwitch(Spec):
    """The kill switch, which is on: no policy answers, fallback chains do.

    Attributes:
        actor: Who turned it on.
        reason: Why.
        at_unix_nanos: When; 0 where that is not known.
    """

    actor: str = "unknown"
    reason: str = ""
    at_unix_nanos: int = 0


class Lease(Spec):
    """Until when a policy may go on without a sign of somebody who watches."""

    policy: PolicyName
    until_unix_nanos: int


class LeaseSettings(Settings):
    """The dead man's switch of a deployment: without a heartbeat in time the policy no longer answers.

    Attributes:
        within_s: Seconds that the policy answers after a heartbeat, and after it was first deployed so.
        then: What happens after that: the fallback chain answers until there is another heartbeat.
    """

    within_s: Annotated[float, Field(ge=1, le=7 * 86_400)]
    then: Literal["fallback"] = "fallback"


class CommandList(Spec):
    """All that is ordered now.

    Attributes:
        number: Grows with each list that a supervisor gives out.
        kill_switch: None where it is off.
        overrides: Overrides, of which some may be over: who applies them looks at the time.
        leases: Of each policy whose deployment asks for one; other policies need none.
    """

    number: int = 0
    kill_switch: KillSwitch | None = None
    overrides: tuple[Override, ...] = ()
    leases: tuple[Lease, ...] = ()


NO_COMMANDS = CommandList()
