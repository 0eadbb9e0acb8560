"""What workers are told of the settings."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from steersman.bundle.signature import ASK_NOBODY
from steersman.serving.limits import Limits
from steersman.serving.messages import TransportKind
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.rollout.snapshot import RoutingSnapshot
from steersman.serving.settings import ServerSettings
from steersman.serving.supervising.launching import NATIVE_WORKER_BYTES, Secrets, care_of, start_message


def settings_of(**given: Any) -> ServerSettings:
    return ServerSettings(repository=Path("/bundles"), **given)


def limits_of(settings: ServerSettings) -> Limits:
    """As workers get them."""
    secrets = Secrets(b"salt", Keyring(current=1, keys={1: "0" * 64}), ASK_NOBODY, None, None)
    snapshot = RoutingSnapshot(generation=1, created=datetime.now(UTC), repository="/bundles", policies=())
    segment: Any = SimpleNamespace(path="/segment")
    return start_message(settings, secrets, snapshot, segment, 1, transport="native").limits


def test_every_limit_is_a_setting_with_the_same_default() -> None:
    assert limits_of(settings_of()) == Limits()


@pytest.mark.parametrize("name", Limits.model_fields)
def test_every_limit_reaches_the_workers(name: str) -> None:
    assert getattr(limits_of(settings_of(**{name: 54_321})), name) == 54_321


@pytest.mark.parametrize(
    ("said", "transport", "expected"),
    [
        (None, "native", NATIVE_WORKER_BYTES),
        (None, "grpcio", 0),
        (0, "native", 0),
        (7, "native", 7),
        (7, "grpcio", 7),
    ],
)
def test_a_native_worker_has_a_bound_of_memory_unless_it_is_said_otherwise(
    said: int | None, transport: str, expected: int
) -> None:
    settings = settings_of(max_worker_bytes=said)
    assert care_of(settings, cast("TransportKind", transport)).max_bytes == expected
