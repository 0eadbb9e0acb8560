"""`steersman override`, `halt`, `resume` and `heartbeat`: what people order in place of policies."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.calling import AsJson
from steersman.cli.control_calls import Calls
from steersman.cli.control_options import changing, connected
from steersman.cli.deployments import print_message
from steersman.cli.orders import print_leases, print_override, print_overrides, seconds

if TYPE_CHECKING:
    from steersman.v1.control_pb2 import Change

Policy = Annotated[str, typer.Argument(help="Name of the policy.")]
SomePolicy = Annotated[str, typer.Argument(help="Name of the policy; without it, all.", show_default=False)]

override = typer.Typer(
    help="Order something in place of a policy, for a time: an action, the fallback, or a version.",
    no_args_is_help=True,
)


@override.command("set")
@connected
@changing
def set_(
    call: Calls,
    change: Change,
    policy: Policy,
    *,
    until: Annotated[str, typer.Option("--for", help="How long: 90s, 10m, 2h, at most 7d.")],
    pin: Annotated[str, typer.Option(help="Answer with this action, as deployments write it.")] = "",
    fallback: Annotated[bool, typer.Option("--fallback", help="Let the fallback chain answer.")] = False,
    freeze: Annotated[int, typer.Option(min=0, help="Let this version answer; it has to be loaded.")] = 0,
    lane: Annotated[str, typer.Option(help="Only for this lane.")] = "",
    episode: Annotated[str, typer.Option(help="Only for this episode.")] = "",
    as_json: AsJson = False,
) -> None:
    """Put an override in force: one of --pin, --fallback and --freeze. It ends by itself.

    Example: steersman override set pump --pin 0.3 --for 10m --reason "inspection of the inlet"
    """
    from steersman.bundle.errors import UsageError
    from steersman.v1 import control_pb2 as pb

    kinds = {"PIN": bool(pin), "FALLBACK": fallback, "FREEZE": bool(freeze)}
    asked = [name for name, given in kinds.items() if given]
    if len(asked) != 1:
        raise UsageError(
            "expected exactly one of --pin, --fallback and --freeze", where=" ".join(asked) or None
        )
    request = pb.SetOverrideRequest(
        policy=policy,
        lane=lane,
        episode_id=episode,
        kind=pb.OverrideKind.Value(f"OVERRIDE_KIND_{asked[0]}"),
        action=pin,
        version=freeze,
        valid_for_nanos=round(seconds(until) * 1e9),
        change=change,
    )
    _show(call("SetOverride", request), as_json=as_json)


@override.command()
@connected
@changing
def clear(
    call: Calls,
    change: Change,
    number: Annotated[str, typer.Argument(metavar="ID", help="As `override list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """End an override before its time."""
    from steersman.v1 import control_pb2 as pb

    _show(call("ClearOverride", pb.ClearOverrideRequest(id=number, change=change)), as_json=as_json)


@override.command("list")
@connected
def list_(call: Calls, policy: SomePolicy = "", *, as_json: AsJson = False) -> None:
    """Show what is ordered now: overrides, the kill switch, and leases."""
    from steersman.v1 import control_pb2 as pb

    answer = call("ListOverrides", pb.ListOverridesRequest(policy=policy))
    if as_json:
        print_message(answer)
    else:
        print_overrides(answer)


@connected
@changing
def halt(
    call: Calls,
    change: Change,
    *,
    state: Annotated[
        Path | None, typer.Option(help="The server's --state-dir: halt by a file there, asking nobody.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn the kill switch on: no policy answers, fallback chains do, until `steersman resume`.

    With --state it needs neither the control service nor the store: it writes the file
    `kill-switch` there, which the server looks at several times a second.
    """
    from steersman.v1 import control_pb2 as pb

    if not yes:
        typer.confirm("No policy will answer any more. Halt?", abort=True, err=True)
    if state is not None:
        _halt_by_file(state, change)
        return
    answer = call("Halt", pb.HaltRequest(change=change))
    if as_json:
        print_message(answer)
        return
    typer.echo(f"halted; {answer.workers_current} of {answer.workers} workers follow")
    if not answer.shared:
        typer.echo("other hosts of the store, if there are any, do not know yet", err=True)


def _halt_by_file(folder: Path, change: Change) -> None:
    from steersman.bundle.errors import UsageError
    from steersman.serving.kill_file import KILL_FILE, KillFile, write_kill_file

    if not folder.is_dir():
        raise UsageError("no such folder", where=str(folder), expected="the server's --state-dir")
    said = KillFile(actor=change.actor or "unknown", reason=change.reason, at_unix_nanos=time.time_ns())
    write_kill_file(folder, said)
    typer.echo(f"wrote {folder / KILL_FILE}; a server that runs there halts within half a second")


@connected
@changing
def resume(call: Calls, change: Change, *, as_json: AsJson = False) -> None:
    """Turn the kill switch off: policies answer again."""
    from steersman.v1 import control_pb2 as pb

    answer = call("Resume", pb.ResumeRequest(change=change))
    if as_json:
        print_message(answer)
    else:
        typer.echo("policies answer again" if answer.resumed else "the kill switch was off")


@connected
@changing
def heartbeat(
    call: Calls,
    change: Change,
    policy: SomePolicy = "",
    *,
    valid: Annotated[
        str, typer.Option("--for", help="How long it is good for; as the deployment says.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Give a sign that somebody watches: renews the lease of a policy that has one."""
    from steersman.v1 import control_pb2 as pb

    nanos = round(seconds(valid) * 1e9) if valid else 0
    answer = call("Heartbeat", pb.HeartbeatRequest(policy=policy, valid_for_nanos=nanos, change=change))
    if as_json:
        print_message(answer)
    else:
        print_leases(answer.leases)


def _show(answer: Any, *, as_json: bool) -> None:
    if as_json:
        print_message(answer)
    else:
        print_override(answer)
