"""What can go wrong with a measurement."""

from steersman.bundle.errors import SteersmanError


class BenchmarkError(SteersmanError):
    """A server did not answer as it should, so that its figures would mean nothing."""
