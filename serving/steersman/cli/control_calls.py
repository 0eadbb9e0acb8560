"""Calling the control service: where it is, who calls, and its errors in a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.bundle.errors import SteersmanError, UsageError

if TYPE_CHECKING:
    from steersman.v1.control_pb2_grpc import ControlServiceStub

DEFAULT_SERVER = "127.0.0.1:50052"
Server = Annotated[
    str, typer.Option("--server", help="Address of the control service.", envvar="STEERSMAN_CONTROL")
]
TokenFile = Annotated[
    Path | None, typer.Option(help="File with your token; or the token itself in STEERSMAN_TOKEN.")
]
Token = Annotated[str, typer.Option(hidden=True, envvar="STEERSMAN_TOKEN")]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        help="PEM file of the authorities of the server's certificate: use TLS.",
        envvar="STEERSMAN_CA",
    ),
]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds to wait for the answer.")]
DEFAULT_TIMEOUT_S = 30.0
REASON = "steersman-reason"
HINTS = {
    "revision_conflict": "Somebody was faster: look with `steersman deploy show`, then try again.",
    "policy_not_found": "`steersman deploy show` lists what there is.",
    "unauthenticated": "Show a token with --token-file or STEERSMAN_TOKEN.",
    "store_unavailable": "The server's log has the details.",
}


class Calls:
    """A connection's stub, with what every call needs beside its request."""

    def __init__(self, stub: ControlServiceStub, timeout_s: float, token: str) -> None:
        self._stub = stub
        self._timeout_s = timeout_s
        self._metadata = [("authorization", f"Bearer {token}")] if token else []

    def __call__(self, method: str, request: Any) -> Any:
        """The answer of a method."""
        call = getattr(self._stub, method)
        return call(request, timeout=self._timeout_s, metadata=self._metadata)


@contextmanager
def control(
    server: str, *, timeout: float, token: str, token_file: Path | None, ca: Path | None
) -> Iterator[Calls]:
    """A connection to the control service; its errors become this command's.

    Raises:
        UsageError: A file cannot be read, or the call was wrong.
        SteersmanError: The call failed.
    """
    import grpc

    from steersman.v1.control_pb2_grpc import ControlServiceStub

    secret = read(token_file, "--token-file").decode().strip() if token_file else token.strip()
    channel = (
        grpc.secure_channel(server, grpc.ssl_channel_credentials(read(ca, "--ca")))
        if ca
        else grpc.insecure_channel(server)
    )
    with channel:
        try:
            yield Calls(ControlServiceStub(channel), timeout, secret)
        except grpc.RpcError as error:
            raise explained(error, server, timeout) from None


def read(path: Path, option: str) -> bytes:
    """A file's content.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=f"{option} {path}") from None


def explained(error: Any, server: str, timeout: float) -> SteersmanError:
    """What a failed call means, in a line."""
    import grpc

    code, details = error.code(), error.details() or ""
    reason = dict(error.trailing_metadata() or ()).get(REASON, "")
    if code is grpc.StatusCode.UNAVAILABLE and not reason:
        return SteersmanError(
            "no control service answers",
            where=server,
            hint="Start a server with `steersman serve`, or say with --server where it is.",
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return SteersmanError(f"no answer within {timeout:g} s", where=server)
    wrong = code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    kind = UsageError if wrong and reason else SteersmanError
    return kind(details if reason else f"{code.name}: {details}", hint=HINTS.get(str(reason)))
