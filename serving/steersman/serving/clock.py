"""What time it is. Handed in, so that tests say it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Gives the time now, UTC."""


def utc_now() -> datetime:
    """The system's time."""
    return datetime.now(UTC)


def unix_nanos(at: datetime) -> int:
    """The time as Unix nanoseconds; exact, unlike floating-point arithmetic."""
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000
