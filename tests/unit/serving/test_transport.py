"""Which transport is taken, and that the choice says why."""

from __future__ import annotations

from typing import Literal

import pytest

from steersman.bundle.errors import UsageError
from steersman.serving.security.transport import Choice, choose_transport, is_private

Wanted = Literal["auto", "grpcio", "native"]


def choose(
    wanted: Wanted = "auto",
    host: str = "127.0.0.1",
    *,
    trusted: bool = False,
    tls: bool = False,
    tokens: bool = False,
    available: bool = True,
) -> Choice:
    return choose_transport(
        wanted, host, trusted_network=trusted, tls=tls, tokens=tokens, available=available
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_what_only_this_host_can_reach_is_native(host: str) -> None:
    assert is_private(host)
    assert choose(host=host).kind == "native"
    assert host in choose(host=host).why


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "steersman.internal", "128.0.0.1"])
def test_what_others_can_reach_is_native_only_where_they_are_trusted(host: str) -> None:
    assert not is_private(host)
    assert choose(host=host).kind == "grpcio"
    assert "trusted_network" in choose(host=host).why
    assert choose(host=host, trusted=True).kind == "native"


def test_what_is_secured_or_lacks_the_package_is_grpcio() -> None:
    assert "TLS" in choose(tls=True, trusted=True).why
    assert "tokens" in choose(tokens=True, trusted=True).why
    assert "pygrpc-native" in choose(available=False).why
    for choice in (choose(tls=True), choose(tokens=True), choose(available=False), choose("grpcio")):
        assert choice.kind == "grpcio"


@pytest.mark.parametrize("security", [{"tls": True}, {"tokens": True}])
def test_native_with_security_is_an_error_that_says_what_to_do(security: dict[str, bool]) -> None:
    with pytest.raises(UsageError, match="native transport has no"):
        choose("native", **security)


def test_native_without_its_package_is_an_error() -> None:
    with pytest.raises(UsageError, match="not installed"):
        choose("native", available=False)


def test_native_where_others_can_reach_it_is_doubtful() -> None:
    assert choose("native", "0.0.0.0").doubt
    assert not choose("native", "0.0.0.0", trusted=True).doubt
    assert not choose("native").doubt
