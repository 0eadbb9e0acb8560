"""What people order in place of policies, checked against what is served, before it is put in force."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from pydantic import JsonValue

from steersman.bundle.specs import ActionSpec
from steersman.safety.actions import parse_action
from steersman.safety.commands import KillSwitch, Override, OverrideKind
from steersman.serving.control.requests import Asked
from steersman.serving.errors import CallError, Code, invalid
from steersman.serving.planning.plan import PlannedLane
from steersman.serving.rollout.noted import Note
from steersman.serving.supervising.commanding import Commander
from steersman.serving.supervising.director import Director

LONGEST_S = 7 * 86_400.0
"""Longest that an override is in force: who needs it for longer has to say so again."""
LEAST_S = 1.0
OBEY_S = 2.0
"""Longest wait for the workers before an order is answered."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An override as somebody asks for it.

    Attributes:
        policy: The policy.
        lane: Its lane; empty for all.
        episode_id: Its episode; empty for all.
        kind: What is ordered.
        action: Of a pin: the action, JSON.
        version: Of a freeze: the version.
        valid_s: Seconds that it is in force.
    """

    policy: str
    lane: str
    episode_id: str
    kind: OverrideKind
    action: str
    version: int
    valid_s: float


class Overseer:
    """Takes orders.

    Args:
        commander: Puts them in force.
        director: Knows what is served.
    """

    def __init__(self, commander: Commander, director: Director) -> None:
        self.commander = commander
        self._director = director

    async def set(self, wanted: Wanted, asked: Asked) -> Override:
        """Puts an override in force; with a dry run only checks it.

        Raises:
            CallError: It does not fit what is served, or lacks a reason.
            SteersmanError: There are too many, or the store cannot be used; nothing was changed.
        """
        override = self._checked(wanted, asked)
        if not asked.dry_run:
            await self.commander.set(override, self._note("set_override", override, asked))
            await self.obeyed()
        return override

    async def clear(self, number: str, asked: Asked) -> Override:
        """Ends an override.

        Raises:
            CallError: There is none of that id.
            SteersmanError: The store cannot be used; nothing was changed.
        """
        override = self.commander.overrides.get(number)
        if override is None:
            message = f"there is no override {number[:64]!r}; `steersman override list` shows them"
            raise CallError(Code.NOT_FOUND, "override_not_found", message)
        if not asked.dry_run:
            await self.commander.clear(override, self._note("clear_override", override, asked))
            await self.obeyed()
        return override

    async def halt(self, asked: Asked) -> bool:
        """Turns the kill switch on. Whether other hosts will know."""
        now = self.commander.now
        note = Note("halt", asked.actor, asked.reason, ("kill switch: on",), now)
        shared = await self.commander.halt(
            KillSwitch(actor=asked.actor, reason=asked.reason, at_unix_nanos=now), note
        )
        await self.obeyed()
        return shared

    async def resume(self, asked: Asked) -> bool:
        """Turns the kill switch off. False where it was off.

        Raises:
            SteersmanError: It cannot be; it stays on.
        """
        note = Note("resume", asked.actor, asked.reason, ("kill switch: off",), self.commander.now)
        resumed = await self.commander.resume(note)
        await self.obeyed()
        return resumed

    async def obeyed(self) -> None:
        """Waits a moment for the workers."""
        await self._director.fleet.obeyed(self.commander.current.number, OBEY_S)

    @property
    def obeying(self) -> tuple[int, int]:
        """Workers that follow what is ordered now, of how many."""
        fleet = self._director.fleet
        return fleet.obeying(self.commander.current.number), fleet.size

    def _checked(self, wanted: Wanted, asked: Asked) -> Override:
        lanes = [lane for lane in self._director.plan.lanes if lane.policy == wanted.policy and lane.answers]
        if not lanes:
            message = f"there is no policy {wanted.policy[:64]!r}"
            raise CallError(Code.NOT_FOUND, "policy_not_found", message)
        if not asked.reason:
            raise invalid("reason", "an override has no reason; say why")
        if not LEAST_S <= wanted.valid_s <= LONGEST_S:
            message = f"it would be in force for {wanted.valid_s:g} s; expected {LEAST_S:g} to {LONGEST_S:g}"
            raise invalid("valid_for", message)
        if wanted.lane and wanted.episode_id:
            raise invalid("target", "lane and episode_id are both given; expected one of them, or neither")
        _check_lane(wanted, lanes)
        now = self.commander.now
        return Override(
            id=secrets.token_hex(4),
            policy=wanted.policy,
            lane=wanted.lane,
            episode_id=wanted.episode_id,
            kind=wanted.kind,
            action=_action(wanted, lanes[0].contract.action) if wanted.kind == "pin" else None,
            version=_version(wanted, lanes) if wanted.kind == "freeze" else 0,
            actor=asked.actor,
            reason=asked.reason,
            set_unix_nanos=now,
            expires_unix_nanos=now + round(wanted.valid_s * 1e9),
        )

    def _note(self, action: str, override: Override, asked: Asked) -> Note:
        return Note(
            action,
            asked.actor,
            asked.reason,
            (said(override),),
            self.commander.now,
            override.policy,
            override.model_dump_json(),
        )


def said(override: Override) -> str:
    """An override in a line."""
    target = f"episode {override.episode_id}" if override.episode_id else f"lane {override.lane}"
    where = "" if override.scope == "policy" else f" of {target}"
    what = {
        "pin": f"action {json.dumps(override.action)}",
        "fallback": "the fallback chain",
        "freeze": f"version {override.version}",
    }[override.kind]
    return f"override {override.id}{where}: {what}"


def _check_lane(wanted: Wanted, lanes: list[PlannedLane]) -> None:
    known = sorted({lane.route.lane for lane in lanes})
    if wanted.lane and wanted.lane not in known:
        message = f"there is no lane {wanted.lane[:64]!r}; expected one of {', '.join(known)}"
        raise CallError(Code.NOT_FOUND, "lane_not_found", message)


def _action(wanted: Wanted, spec: ActionSpec) -> JsonValue:
    """The action to pin, which has to be one of the policy's."""
    try:
        value: JsonValue = json.loads(wanted.action)
    except ValueError:
        value = wanted.action  # the bare name of a choice
    if value is None:
        raise invalid("action", "a pin has no action; expected one")
    parse_action(value, spec, "action")
    return value


def _version(wanted: Wanted, lanes: list[PlannedLane]) -> int:
    loaded = sorted({lane.route.version for lane in lanes})
    if wanted.version not in loaded:
        told = ", ".join(map(str, loaded))
        message = f"version {wanted.version} is not loaded; expected one of {told}, or add it to `serve`"
        raise CallError(Code.FAILED_PRECONDITION, "version_not_loaded", message)
    return wanted.version
