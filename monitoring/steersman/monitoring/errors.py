"""What can go wrong in monitoring."""

from __future__ import annotations

from steersman.bundle.errors import SteersmanError


class MonitoringError(SteersmanError):
    """Something could not be counted, read or judged."""


class CountersFullError(MonitoringError):
    """There is no room for another block of counters."""


class MonitoringUsageError(MonitoringError):
    """Monitoring was asked for something that it has no data or calibration for; nothing was attempted."""

    exit_code = 2
