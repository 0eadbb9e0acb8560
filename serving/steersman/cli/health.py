"""`steersman health`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from steersman.bundle.errors import SteersmanError
from steersman.cli.calling import DEFAULT_TARGET, START_HINT, Target, Timeout
from steersman.cli.connection import TlsOptions, quiet_grpc
from steersman.cli.control_calls import Ca, Certificate, Key, OldServer


def health(
    *,
    policy: Annotated[str, typer.Option(help="Ask for this policy; without it, for the server.")] = "",
    target: Target = DEFAULT_TARGET,
    old_target: OldServer = "",
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    timeout: Timeout = 3.0,
) -> None:
    """Ask a running server's health (grpc.health.v1) and print it.

    Exit status 0 when it is SERVING, otherwise 1.

    Example: steersman health --policy cartpole
    """
    status = _check(old_target or target, policy, timeout, TlsOptions.read(ca, certificate, key))
    typer.echo(status)
    raise typer.Exit(0 if status == "SERVING" else 1)


def _check(target: str, service: str, timeout: float, tls: TlsOptions) -> str:
    quiet_grpc()
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from steersman.client.channel import channel_options

    request = health_pb2.HealthCheckRequest(service=service)
    with tls.channel(target, channel_options(target)) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            raise _explain(error, target, service, timeout, tls) from error
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _explain(error: Any, target: str, service: str, timeout: float, tls: TlsOptions) -> SteersmanError:
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
            nobody = SteersmanError("no server answers", where=target, hint=START_HINT)
            return tls.trouble(error, target) or nobody
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return SteersmanError(f"no answer within {timeout:g} s", where=target)
        case grpc.StatusCode.UNIMPLEMENTED:
            return SteersmanError("the server there does not tell its health", where=target)
        case code:
            return SteersmanError(f"{code.name}: {error.details()}", where=target)
