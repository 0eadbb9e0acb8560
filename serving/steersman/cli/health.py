"""`steersman health`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from steersman.bundle.errors import SteersmanError
from steersman.cli.calling import DEFAULT_TARGET, START_HINT, Target, Timeout
from steersman.cli.control_calls import Ca, read


def health(
    *,
    policy: Annotated[str, typer.Option(help="Ask for this policy; without it, for the server.")] = "",
    target: Target = DEFAULT_TARGET,
    ca: Ca = None,
    timeout: Timeout = 3.0,
) -> None:
    """Ask a running server's health (grpc.health.v1) and print it.

    Exit status 0 when it is SERVING, otherwise 1.

    Example: steersman health --policy cartpole
    """
    status = _check(target, policy, timeout, None if ca is None else read(ca, "--ca"))
    typer.echo(status)
    raise typer.Exit(0 if status == "SERVING" else 1)


def _check(target: str, service: str, timeout: float, ca: bytes | None) -> str:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from steersman.client.channel import channel_options

    request = health_pb2.HealthCheckRequest(service=service)
    options = channel_options(target)
    channel = (
        grpc.insecure_channel(target, options)
        if ca is None
        else grpc.secure_channel(target, grpc.ssl_channel_credentials(ca), options)
    )
    with channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            raise _explain(error, target, service, timeout) from error
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _explain(error: Any, target: str, service: str, timeout: float) -> SteersmanError:
    import grpc

    match error.code():
        case grpc.StatusCode.NOT_FOUND:
            what = (
                f"policy {service!r} is unknown there"
                if service
                else "the server does not know its own health"
            )
            return SteersmanError(what, where=target, hint="`steersman policies` lists what there is.")
        case grpc.StatusCode.UNAVAILABLE:
            return SteersmanError("no server answers", where=target, hint=START_HINT)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return SteersmanError(f"no answer within {timeout:g} s", where=target)
        case grpc.StatusCode.UNIMPLEMENTED:
            return SteersmanError("the server there does not tell its health", where=target)
        case code:
            return SteersmanError(f"{code.name}: {error.details()}", where=target)
