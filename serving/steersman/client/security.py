"""Who calls, and how both sides know: bearer tokens, and the certificates of a TLS channel."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import grpc
from grpc import StatusCode

from steersman.client.channel import is_on_this_host
from steersman.client.errors import ClientError, InvalidRequestError

Token = str | Callable[[], str]
"""A bearer token, or what gives the present one; asked at each attempt, so it should keep it."""

Pem = bytes | str | os.PathLike[str]
"""PEM itself as bytes, or the path of a file with it."""

Metadata = tuple[tuple[str, str], ...] | None

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, section 2.1: b64token


class Security(TypedDict, total=False):
    """How a client proves who it is, and knows the server.

    Attributes:
        token: Bearer token, sent with every call as `authorization`; or a function that gives the present
            one.
        ca: Certificate authority that the server's certificate must come from. With this or `certificate` the
            channel is TLS.
        certificate: The client's own certificate, for mTLS; with `key`.
        key: Private key of that.
        allow_insecure_token: Sends the token over a connection that is not encrypted, to another host.
    """

    token: Token
    ca: Pem
    certificate: Pem
    key: Pem
    allow_insecure_token: bool


class Authorization:
    """The metadata that says who calls. Never shows its token."""

    def __init__(self, token: Token | None) -> None:
        self._token = token

    def metadata(self) -> Metadata:
        """What is sent with a call; None without a token.

        Raises:
            ClientError: There is no token, or it is none.
        """
        if self._token is None:
            return None
        return (("authorization", f"Bearer {_checked(self._read())}"),)

    def _read(self) -> Any:
        if not callable(self._token):
            return self._token
        try:
            return self._token()
        except Exception as error:
            message = f"the function given as token failed with {type(error).__name__}"
            raise ClientError(message, code=StatusCode.UNAUTHENTICATED, reason="token") from error


def _checked(token: Any) -> str:
    # grpcio would show a header that it cannot send, token and all.
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        message = (
            "the token is none; expected letters, digits and -._~+/ without spaces or line ends (RFC 6750)"
        )
        raise InvalidRequestError(message, reason="token")
    return token


def secure(
    targets: Sequence[str], credentials: grpc.ChannelCredentials | None, security: Security
) -> tuple[grpc.ChannelCredentials | None, Authorization]:
    """How channels to these targets are made, and what calls carry.

    Args:
        targets: Addresses of the servers.
        credentials: Of a TLS channel, made elsewhere.
        security: The client's options.

    Raises:
        InvalidRequestError: The options contradict each other, or would show a token to a network.
    """
    unknown = security.keys() - Security.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"unknown option {', '.join(sorted(unknown))}; there are {', '.join(Security.__annotations__)}"
        )
    token = security.get("token")
    if token is not None and not callable(token):
        _checked(token)
    credentials = _credentials(credentials, security)
    abroad = [target for target in targets if not is_on_this_host(target)]
    if token is not None and credentials is None and abroad and not security.get("allow_insecure_token"):
        message = (
            f"the token would go to {abroad[0]} unencrypted; give ca= or credentials= for TLS, or "
            "allow_insecure_token=True where the network itself is trusted"
        )
        raise InvalidRequestError(message, reason="insecure_token")
    return credentials, Authorization(token)


def _credentials(
    credentials: grpc.ChannelCredentials | None, security: Security
) -> grpc.ChannelCredentials | None:
    ca, certificate, key = (_pem(security.get(name), name) for name in ("ca", "certificate", "key"))
    if ca is None and certificate is None and key is None:
        return credentials
    if credentials is not None:
        raise InvalidRequestError(
            "credentials are given, and ca, certificate or key too; expected one of the two"
        )
    if (certificate is None) != (key is None):
        raise InvalidRequestError("certificate and key belong together; one of them is missing")
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _pem(value: Any, name: str) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    try:
        return Path(value).read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"{name} cannot be read from {value}: {error.strerror}") from error
