"""Overrides, kill switch and leases between the wire and the overseer."""

from __future__ import annotations

import json
from collections.abc import Mapping

from steersman.safety.commands import KillSwitch, Lease, Override, OverrideKind
from steersman.serving.control.overseer import Overseer, Wanted, said
from steersman.serving.control.requests import read_asked
from steersman.serving.errors import invalid
from steersman.v1 import control_pb2 as pb

MAX_NAME_BYTES = 256
MAX_ACTION_BYTES = 16 * 1024
_KINDS: Mapping[int, OverrideKind] = {
    pb.OVERRIDE_KIND_PIN: "pin",
    pb.OVERRIDE_KIND_FALLBACK: "fallback",
    pb.OVERRIDE_KIND_FREEZE: "freeze",
}
_CODES: Mapping[OverrideKind, pb.OverrideKind.ValueType] = {
    "pin": pb.OVERRIDE_KIND_PIN,
    "fallback": pb.OVERRIDE_KIND_FALLBACK,
    "freeze": pb.OVERRIDE_KIND_FREEZE,
}


async def set_override(overseer: Overseer, request: pb.SetOverrideRequest) -> pb.OverrideChange:
    """Puts an override in force.

    Raises:
        CallError: It does not fit what is served.
        SteersmanError: It could not be put in force.
    """
    asked = read_asked(request.change)
    override = await overseer.set(_wanted(request), asked)
    return _change(overseer, override, said(override), dry_run=asked.dry_run)


async def clear_override(overseer: Overseer, request: pb.ClearOverrideRequest) -> pb.OverrideChange:
    """Ends an override.

    Raises:
        CallError: There is none of that id.
        SteersmanError: It could not be ended.
    """
    asked = read_asked(request.change)
    override = await overseer.clear(request.id, asked)
    return _change(overseer, override, f"{said(override)}: cleared", dry_run=asked.dry_run)


def list_overrides(overseer: Overseer, request: pb.ListOverridesRequest) -> pb.ListOverridesResponse:
    """What is ordered now."""
    listed, now = overseer.commander.current, overseer.commander.now
    current, workers = overseer.obeying
    policy = request.policy
    return pb.ListOverridesResponse(
        overrides=[
            _override(found)
            for found in listed.overrides
            if policy in {"", found.policy} and found.expires_unix_nanos > now
        ],
        kill_switch=None if listed.kill_switch is None else _kill_switch(listed.kill_switch),
        leases=[_lease(lease, now) for lease in listed.leases if policy in {"", lease.policy}],
        workers_current=current,
        workers=workers,
    )


async def halt(overseer: Overseer, request: pb.HaltRequest) -> pb.HaltResponse:
    """Turns the kill switch on."""
    shared = await overseer.halt(read_asked(request.change))
    on = overseer.commander.current.kill_switch
    current, workers = overseer.obeying
    return pb.HaltResponse(
        kill_switch=None if on is None else _kill_switch(on),
        shared=shared,
        workers_current=current,
        workers=workers,
    )


async def resume(overseer: Overseer, request: pb.ResumeRequest) -> pb.ResumeResponse:
    """Turns the kill switch off.

    Raises:
        SteersmanError: It cannot be.
    """
    return pb.ResumeResponse(resumed=await overseer.resume(read_asked(request.change)))


async def heartbeat(overseer: Overseer, request: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
    """Renews leases.

    Raises:
        CallError: The time is negative.
        SteersmanError: There is no such lease.
    """
    if request.valid_for_nanos < 0:
        raise invalid("valid_for", f"valid_for_nanos is {request.valid_for_nanos}; expected 0 or more")
    asked = read_asked(request.change)
    until = await overseer.commander.renew(request.policy, request.valid_for_nanos / 1e9, asked.actor)
    now = overseer.commander.now
    leases = [Lease(policy=policy, until_unix_nanos=end) for policy, end in sorted(until.items())]
    return pb.HeartbeatResponse(leases=[_lease(lease, now) for lease in leases])


def _wanted(request: pb.SetOverrideRequest) -> Wanted:
    kind = _KINDS.get(request.kind)
    if kind is None:
        raise invalid("kind", f"kind {request.kind} is unknown; expected pin (1), fallback (2) or freeze (3)")
    for name, text, most in (
        ("policy", request.policy, MAX_NAME_BYTES),
        ("lane", request.lane, MAX_NAME_BYTES),
        ("episode_id", request.episode_id, MAX_NAME_BYTES),
        ("action", request.action, MAX_ACTION_BYTES),
    ):
        if (size := len(text.encode())) > most:
            raise invalid(name, f"{name} has {size} bytes; expected at most {most}")
    if kind != "pin" and request.action:
        raise invalid("action", f"a {kind} has no action; expected none")
    if kind != "freeze" and request.version:
        raise invalid("version", f"a {kind} has no version; expected none")
    return Wanted(
        policy=request.policy,
        lane=request.lane,
        episode_id=request.episode_id,
        kind=kind,
        action=request.action,
        version=request.version,
        valid_s=request.valid_for_nanos / 1e9,
    )


def _change(overseer: Overseer, override: Override, line: str, *, dry_run: bool) -> pb.OverrideChange:
    current, workers = overseer.obeying
    return pb.OverrideChange(
        override=_override(override),
        changes=[line],
        dry_run=dry_run,
        workers_current=current,
        workers=workers,
    )


def _override(override: Override) -> pb.Override:
    return pb.Override(
        id=override.id,
        policy=override.policy,
        lane=override.lane,
        episode_id=override.episode_id,
        kind=_CODES[override.kind],
        action="" if override.action is None else json.dumps(override.action),
        version=override.version,
        actor=override.actor,
        reason=override.reason,
        set_unix_nanos=override.set_unix_nanos,
        expires_unix_nanos=override.expires_unix_nanos,
    )


def _kill_switch(on: KillSwitch) -> pb.KillSwitch:
    return pb.KillSwitch(actor=on.actor, reason=on.reason, at_unix_nanos=on.at_unix_nanos)


def _lease(lease: Lease, now: int) -> pb.LeaseStatus:
    return pb.LeaseStatus(
        policy=lease.policy, until_unix_nanos=lease.until_unix_nanos, expired=now >= lease.until_unix_nanos
    )
