"""Settings that would open the server further than they say are refused before anything listens."""

from __future__ import annotations

from steersman.bundle.errors import UsageError
from steersman.serving.security.transport import is_private
from steersman.serving.settings import ServerSettings

_HINT = "listen on loopback, or say trusted_network: true."


def check_exposure(settings: ServerSettings) -> None:
    """Refuses protection that is incomplete, or that protects less than it seems to.

    Raises:
        UsageError: TLS is half set; tokens would be sent in plain text over a network; or the control
            service would be open to everybody on one.
    """
    _check_tls_is_whole(settings)
    if not settings.trusted_network:
        _check_tokens_stay_secret(settings)
        _check_control_is_guarded(settings)


def _check_tls_is_whole(settings: ServerSettings) -> None:
    names = ("tls_certificate", "tls_key", "tls_client_ca")
    given = [name for name in names if getattr(settings, name) is not None]
    for name in ("tls_certificate", "tls_key"):
        if given and name not in given:
            raise UsageError("missing", where=name, expected=f"a PEM file, for {given[0]} is set")


def _check_tokens_stay_secret(settings: ServerSettings) -> None:
    if settings.tokens is None or settings.tls_certificate is not None:
        return
    for name in ("host", "control_host"):
        if not is_private(host := getattr(settings, name)):
            raise UsageError(
                "tokens would cross the network in plain text",
                where=f"{name}: {host}",
                hint=f"Set tls_certificate and tls_key, {_HINT}",
            )


def _check_control_is_guarded(settings: ServerSettings) -> None:
    guarded = settings.tokens is not None or settings.tls_client_ca is not None
    if not guarded and not is_private(settings.control_host):
        raise UsageError(
            "everybody on the network could move deployments",
            where=f"control_host: {settings.control_host}",
            hint=f"Set tokens or tls_client_ca, {_HINT}",
        )
