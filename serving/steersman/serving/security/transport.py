"""Which transport answers gRPC, and why."""

from __future__ import annotations

import ipaddress
import logging
from importlib.util import find_spec
from typing import Literal, NamedTuple

from steersman.bundle.errors import UsageError
from steersman.serving.messages import TransportKind
from steersman.serving.settings import ServerSettings

PACKAGE = "pygrpc_native"
log = logging.getLogger(__name__)


class Choice(NamedTuple):
    """A transport, and why it is this one, for the log. `doubt` where somebody should look at it."""

    kind: TransportKind
    why: str
    doubt: bool = False


def transport_of(settings: ServerSettings) -> TransportKind:
    """The transport of a server with these settings. The log says which, and why.

    Raises:
        UsageError: The native transport is asked for and cannot be had.
    """
    choice = choose_transport(
        settings.transport,
        settings.host,
        trusted_network=settings.trusted_network,
        tls=settings.tls_certificate is not None,
        tokens=settings.tokens is not None,
        available=native_available(),
    )
    log.info("transport", extra={"transport": choice.kind, "why": choice.why})
    if choice.doubt:
        log.warning(
            "the native transport is for trusted networks only: it has no TLS, no tokens and no limit on a "
            "message before it is there",
            extra={"host": settings.host},
        )
    return choice.kind


def choose_transport(
    wanted: Literal["auto", "grpcio", "native"],
    host: str,
    *,
    trusted_network: bool,
    tls: bool,
    tokens: bool,
    available: bool,
) -> Choice:
    """The transport.

    Args:
        wanted: What the settings say.
        host: Address that gRPC listens at.
        trusted_network: Whether everybody who can reach the port is trusted.
        tls: Whether TLS is on.
        tokens: Whether callers need tokens.
        available: Whether the native transport's package is there.

    Raises:
        UsageError: The native transport is asked for and cannot be had.
    """
    secured = "TLS" if tls else "tokens" if tokens else ""
    if wanted == "grpcio":
        return Choice("grpcio", "it was asked for")
    if wanted == "native":
        return _native(host, secured, trusted_network=trusted_network, available=available)
    obstacle = _obstacle(host, secured, trusted_network=trusted_network, available=available)
    if obstacle:
        return Choice("grpcio", obstacle)
    return Choice(
        "native", f"only this host can reach {host}" if is_private(host) else "the network is trusted"
    )


def _obstacle(host: str, secured: str, *, trusted_network: bool, available: bool) -> str:
    """What speaks against the native transport; empty where nothing does."""
    if secured:
        return f"the native transport has no {secured}"
    if not available:
        return "the package pygrpc-native is not installed"
    if not (trusted_network or is_private(host)):
        return f"others can reach {host}, and trusted_network is not said"
    return ""


def _native(host: str, secured: str, *, trusted_network: bool, available: bool) -> Choice:
    if secured:
        raise UsageError(
            f"the native transport has no {secured}",
            where="transport",
            expected="grpcio or auto",
            hint=f"Or leave {secured} out, where the network is trusted.",
        )
    if not available:
        raise UsageError(
            "the native transport's package is not installed",
            where="transport",
            hint="pip install pygrpc-native; it has wheels for Linux (glibc) and macOS, x86-64 and arm64.",
        )
    doubt = not (trusted_network or is_private(host))
    return Choice("native", "it was asked for", doubt=doubt)


def native_available() -> bool:
    """Whether the native transport's package is installed."""
    return find_spec(PACKAGE) is not None


def is_private(host: str) -> bool:
    """Whether only processes of this host can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
