"""Calling the control service: where it is, who calls, and its errors in a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.bundle.errors import SteersmanError, UsageError
from steersman.cli.connection import TlsOptions, quiet_grpc, read

if TYPE_CHECKING:
    from steersman.v1.control_pb2_grpc import ControlServiceStub

DEFAULT_SERVER = "127.0.0.1:50052"
Server = Annotated[
    str, typer.Option("--server", help="Address of the control service.", envvar="STEERSMAN_CONTROL")
]
OldServer = Annotated[str, typer.Option("--target", hidden=True)]
"""What `--server` was called in some commands; it wins over the variables."""
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
Certificate = Annotated[
    Path | None,
    typer.Option(
        "--certificate", help="PEM file of your own certificate, for mTLS.", envvar="STEERSMAN_CERTIFICATE"
    ),
]
Key = Annotated[Path | None, typer.Option("--key", help="PEM file of its key.", envvar="STEERSMAN_KEY")]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds to wait for the answer.")]
DEFAULT_TIMEOUT_S = 30.0
REASON = "steersman-reason"
OTHER_PORT = "The control service has a port of its own, by default 50052: --server or STEERSMAN_CONTROL."
MAX_ANSWER_BYTES = 64 << 20
"""Of one answer: deployments of many policies with their documents are more than gRPC takes by itself."""
HINTS = {
    "revision_conflict": "Somebody was faster: look with `steersman deploy show`, then try again.",
    "policy_not_found": "`steersman deploy show` lists what there is.",
    "unauthenticated": "Show a token with --token-file or STEERSMAN_TOKEN.",
    "store_unavailable": "The server's log has the details.",
    "revision_not_found": "`steersman deploy history` lists the revisions.",
    "safety_left_out": "`steersman deploy show POLICY --yaml` prints it.",
    "lane_not_found": "`steersman deploy show` lists the lanes that are open.",
    "nothing_to_promote": "`steersman deploy apply FILE` makes a file the deployment.",
    "stable_has_no_share": "`steersman deploy show` lists them.",
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
    server: str, *, timeout: float, token: str, token_file: Path | None, tls: TlsOptions
) -> Iterator[Calls]:
    """A connection to the control service; its errors become this command's.

    Raises:
        UsageError: A file cannot be read, or the call was wrong.
        SteersmanError: The call failed.
    """
    quiet_grpc()
    import grpc

    from steersman.v1.control_pb2_grpc import ControlServiceStub

    secret = read(token_file, "--token-file").decode().strip() if token_file else token.strip()
    options = [("grpc.max_receive_message_length", MAX_ANSWER_BYTES)]
    with tls.channel(server, options) as channel:
        try:
            yield Calls(ControlServiceStub(channel), timeout, secret)
        except grpc.RpcError as error:
            raise explained(error, server, timeout, tls) from None


def read_history(call: Calls, policy: str, limit: int, before: int, *, with_documents: bool) -> Any:
    """The history as one answer, page by page: a server gives as much at once as it sees fit.

    Args:
        call: The connection.
        policy: Name of the policy; empty for all.
        limit: Most entries.
        before: Only entries before this one; 0 for the newest.
        with_documents: Whether with the deployments that were made.
    """
    from steersman.v1 import control_pb2 as pb

    history = pb.GetHistoryResponse(next_before_id=before)
    while len(history.entries) < limit:
        request = pb.GetHistoryRequest(
            policy=policy,
            limit=limit - len(history.entries),
            before_id=history.next_before_id,
            with_documents=with_documents,
        )
        page = call("GetHistory", request)
        history.entries.extend(page.entries)
        history.next_before_id = page.next_before_id
        if not page.next_before_id:
            break
    return history


def explained(error: Any, server: str, timeout: float, tls: TlsOptions) -> SteersmanError:
    """What a failed call means, in a line."""
    import grpc

    code, details = error.code(), error.details() or ""
    reason = dict(error.trailing_metadata() or ()).get(REASON, "")
    if code is grpc.StatusCode.UNAVAILABLE and not reason:
        return tls.trouble(error, server) or SteersmanError(
            "no control service answers",
            where=server,
            hint="Start a server with `steersman serve`, or say with --server where it is.",
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return SteersmanError(f"no answer within {timeout:g} s", where=server)
    if code is grpc.StatusCode.UNIMPLEMENTED and not reason:
        return SteersmanError(f"{code.name}: {details.rstrip('!')}", where=server, hint=OTHER_PORT)
    wrong = code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    kind = UsageError if wrong and reason else SteersmanError
    return kind(details if reason else f"{code.name}: {details}", hint=HINTS.get(str(reason)))
