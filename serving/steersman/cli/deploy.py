"""`steersman deploy`: moves the versions of a policy between lanes, on a running server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.calling import AsJson
from steersman.cli.connection import read
from steersman.cli.control_calls import Calls, read_history
from steersman.cli.control_options import changing, connected
from steersman.cli.deployments import print_change, print_history, print_message, print_statuses, print_yaml

if TYPE_CHECKING:
    from steersman.v1.control_pb2 import Change

Policy = Annotated[str, typer.Argument(help="Name of the policy.")]
SomePolicy = Annotated[str, typer.Argument(help="Name of the policy; without it, all.", show_default=False)]

deploy = typer.Typer(
    help="Move versions between lanes on a running server: canary, A/B arms, shadow, promote, roll back.",
    no_args_is_help=True,
)


@deploy.command()
@connected
@changing
def apply(
    call: Calls,
    change: Change,
    file: Annotated[Path, typer.Argument(help="Deployment, YAML or JSON; see `steersman deploy schema`.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Make a file the deployment of the policy that it names.

    Exit status: 0 done, 1 refused or not reached, 2 the file or an option is wrong.

    Example: steersman deploy apply cartpole.yaml --reason "canary of version 4"
    """
    from steersman.bundle.errors import UsageError
    from steersman.v1 import control_pb2 as pb

    try:
        document = read(file, "FILE").decode()
    except UnicodeDecodeError:
        raise UsageError("not UTF-8 text", where=str(file), expected="YAML") from None
    request = pb.ApplyDeploymentRequest(document=document, change=change)
    _show_change(call("ApplyDeployment", request), dry_run=change.dry_run, as_json=as_json)


@deploy.command()
@connected
def show(
    call: Calls,
    policy: SomePolicy = "",
    *,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the deployment of one policy as `apply` takes it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what is deployed, and what every worker makes of it.

    Example: steersman deploy show cartpole --yaml > cartpole.yaml
    """
    from steersman.bundle.errors import UsageError
    from steersman.v1 import control_pb2 as pb

    answer = call("ListDeployments", pb.ListDeploymentsRequest(policy=policy))
    if as_yaml:
        if len(answer.deployments) != 1:
            there = ", ".join(status.policy for status in answer.deployments) or "none"
            raise UsageError("--yaml prints one deployment", expected=f"the name of a policy: {there}")
        print_yaml(answer.deployments[0])
    elif as_json:
        print_message(answer)
    else:
        print_statuses(answer.deployments)


@deploy.command()
@connected
@changing
def set_share(
    call: Calls,
    change: Change,
    policy: Policy,
    lane: Annotated[str, typer.Argument(help="canary, control, shadow or the name of an arm.")],
    share: Annotated[float, typer.Argument(min=0.0, max=1.0, help="From 0 to 1.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Move the share of a lane or an arm. Episodes that are in a canary stay in it while it grows.

    Example: steersman deploy set-share cartpole canary 0.2 --reason "no harm at 5 %"
    """
    from steersman.v1 import control_pb2 as pb

    request = pb.SetShareRequest(policy=policy, lane=lane, share=share, change=change)
    _show_change(call("SetShare", request), dry_run=change.dry_run, as_json=as_json)


@deploy.command()
@connected
@changing
def promote(
    call: Calls,
    change: Change,
    policy: Policy,
    lane: Annotated[str, typer.Argument(help="canary, or the name of an arm.")] = "canary",
    *,
    as_json: AsJson = False,
) -> None:
    """Make the canary, or an arm, the stable version. Episodes end on the version they began with."""
    from steersman.v1 import control_pb2 as pb

    request = pb.PromoteRequest(policy=policy, lane=lane, change=change)
    _show_change(call("Promote", request), dry_run=change.dry_run, as_json=as_json)


@deploy.command()
@connected
@changing
def rollback(
    call: Calls,
    change: Change,
    policy: Policy,
    *,
    revision: Annotated[
        int, typer.Option(min=0, help="Go back to this revision, with its rollout; 0 ends the rollout.")
    ] = 0,
    keep_episodes: Annotated[
        bool,
        typer.Option("--keep-episodes", help="Let episodes of closed lanes end there; else they are cut."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End a rollout at once; where none is under way, go back to what was stable before.

    Example: steersman deploy rollback cartpole --reason "falls over at the left wall"
    """
    from steersman.v1 import control_pb2 as pb

    request = pb.RollbackRequest(policy=policy, revision=revision, keep_episodes=keep_episodes, change=change)
    _show_change(call("Rollback", request), dry_run=change.dry_run, as_json=as_json)


@deploy.command()
@connected
def history(
    call: Calls,
    policy: SomePolicy = "",
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most entries.")] = 20,
    before: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Only entries before this id.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show who changed what, when and why; newest first."""
    answer = read_history(call, policy, limit, before, with_documents=as_json)
    if as_json:
        print_message(answer)
    elif answer.entries:
        print_history(answer.entries)
        if answer.next_before_id:
            typer.echo(f"there is more: --before {answer.next_before_id}", err=True)
    else:
        typer.echo("nothing was ever changed")


@deploy.command()
@connected
def refresh(
    call: Calls,
    *,
    as_json: AsJson = False,
) -> None:
    """Have the server read its repository now, and try again what could not be loaded."""
    from steersman.v1 import control_pb2 as pb

    answer = call("RefreshRepository", pb.RefreshRepositoryRequest())
    if as_json:
        print_message(answer)
    else:
        for line in answer.changes or [f"nothing is new; generation {answer.generation}"]:
            typer.echo(line)


@deploy.command()
def schema() -> None:
    """Print the JSON schema of a deployment, for editors."""
    from steersman.serving.rollout.deployment import deployment_schema

    typer.echo(json.dumps(deployment_schema(), indent=2))


def _show_change(answer: Any, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_message(answer)
    else:
        print_change(answer, dry_run=dry_run)
