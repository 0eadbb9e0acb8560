"""Who may call what over grpcio: an interceptor that asks each call who its caller is.

A caller shows a bearer token (`authorization: Bearer stm_...`), or, where the list of callers names
certificates, the certificate that mTLS has checked. Health and reflection answer everybody: balancers and
probes have no tokens, and what they tell, names of policies and the published interface, is no secret.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import grpc
import grpc.aio

from steersman.serving.errors import CallError, Code
from steersman.serving.rpc.status import STATUS, trailing_metadata
from steersman.serving.security.access import AccessList, Caller, Role, bearer_token, remember_caller

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any
"""grpc.RpcMethodHandler, whose attributes its type does not declare."""

OPEN_SERVICES = frozenset(
    {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "grpc.reflection.v1.ServerReflection",
    }
)
OPEN_METHODS = frozenset(
    {"/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady"}
)
SERVICE_ROLES: Mapping[str, Role] = {
    "steersman.v1.PolicyService": Role.DECIDE,
    "inference.GRPCInferenceService": Role.DECIDE,
    "steersman.v1.ControlService": Role.OPERATE,
}
METHOD_ROLES: Mapping[str, Role] = {
    "/steersman.v1.ControlService/RefreshRepository": Role.ADMIN,
    "/inference.GRPCInferenceService/RepositoryModelLoad": Role.ADMIN,
    "/inference.GRPCInferenceService/RepositoryModelUnload": Role.ADMIN,
}
"""Methods that need another role than the others of their service."""

UNKNOWN_CALLER = CallError(
    Code.UNAUTHENTICATED, "unauthenticated", "this server answers callers that it knows; expected their token"
)
"""The same for no token, a wrong one and a malformed one: nothing is learned by trying."""

NO_METHOD = CallError(Code.UNIMPLEMENTED, "method_not_found", "this server has no such method")


def needed_role(method: str) -> Role | None:
    """The role that a method needs; None where it answers everybody. What is not listed needs `admin`.

    Args:
        method: Full path, `/package.Service/Method`.
    """
    service = method[1:].partition("/")[0]
    if service in OPEN_SERVICES or method in OPEN_METHODS:
        return None
    return METHOD_ROLES.get(method) or SERVICE_ROLES.get(service, Role.ADMIN)


def not_permitted(role: Role) -> CallError:
    """The caller is known, but its role is not enough."""
    return CallError(Code.PERMISSION_DENIED, "permission_denied", f"this call needs the role {role}")


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Lets calls pass whose callers may make them; the others end before their method is called.

    Args:
        access: All who are known.
        refused: Told the path and the failure of every call that was not let in.
    """

    def __init__(
        self, access: AccessList, refused: Callable[[str, Code], None] = lambda _path, _code: None
    ) -> None:
        self._access = access
        self._refused = refused

    def replace(self, access: AccessList) -> None:
        """Other callers are known from the next call on; calls and streams that were let in go on."""
        self._access = access

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Handler]], handler_call_details: Any
    ) -> Handler:
        """The method's handler, or one that refuses."""
        role = needed_role(handler_call_details.method)
        if role is None:
            return await continuation(handler_call_details)
        shown = [value for key, value in handler_call_details.invocation_metadata if key == "authorization"]
        if shown or not self._access.knows_certificates:
            token = bearer_token(shown[0]) if len(shown) == 1 else None
            if error := admit(self._access.find(token) if token else None, role):
                self._refused(handler_call_details.method, error.code)
                return _refusing(error)
            return await continuation(handler_call_details)
        handler = await continuation(handler_call_details) or _refusing(NO_METHOD)
        return self._asking_certificate(handler, handler_call_details.method, role)

    def _asking_certificate(self, handler: Handler, method: str, role: Role) -> Handler:
        """The handler behind a look at the peer's certificate, which only the call itself can tell."""

        async def ask(context: Context) -> None:
            if error := admit(self._access.find_certificate(_peer_names(context)), role):
                self._refused(method, error.code)
                await _abort(context, error)

        kind = f"{'stream' if handler.request_streaming else 'unary'}_"
        kind += "stream" if handler.response_streaming else "unary"
        return handler._replace(**{kind: _after(ask, getattr(handler, kind))})


def _after(ask: Callable[[Context], Awaitable[None]], behavior: Callable[[Any, Any], Any]) -> Any:
    """What a method does, once `ask` has let the call in. A generator stays one: grpcio looks at that."""

    async def answer(request: Any, context: Context) -> Any:
        await ask(context)
        return await behavior(request, context)

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        await ask(context)
        async for item in behavior(request, context):
            yield item

    return stream if inspect.isasyncgenfunction(behavior) else answer


def admit(caller: Caller | None, role: Role) -> CallError | None:
    """Why the caller may not make the call; None where it may, and is the current caller from here on."""
    if caller is None:
        return UNKNOWN_CALLER
    if not caller.may(role):
        return not_permitted(role)
    remember_caller(caller)
    return None


def _refusing(error: CallError) -> Handler:
    """A handler for any kind of method. It is a stream's, for those begin before a request is there."""

    async def refuse(_: Any, context: Context) -> None:
        await _abort(context, error)

    return grpc.stream_stream_rpc_method_handler(refuse)


async def _abort(context: Context, error: CallError) -> None:
    await context.abort(STATUS[error.code], error.message, trailing_metadata(error))


def _peer_names(context: Context) -> Iterator[str]:
    """The names in the peer's certificate, which the handshake has checked; none without mTLS."""
    identity: Mapping[str, list[bytes]] = context.auth_context()  # type: ignore[assignment]  # lists, in truth
    for key in ("x509_common_name", "x509_subject_alternative_name"):
        for name in identity.get(key, ()):
            yield name.decode(errors="replace")
