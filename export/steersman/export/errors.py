"""What can go wrong in export. Whatever it is, nothing was written.

A file that is not what its option asks for, or that export does not cover, was given by mistake: exit code 2.
One that is of the right kind and broken, or that is refused for what it would do, is a failure: exit code 1.
"""

from __future__ import annotations

from steersman.bundle.errors import SteersmanError


class ExportError(SteersmanError):
    """The policy could not be exported."""


class ExportUsageError(ExportError):
    """A file or option is not what it should be."""

    exit_code = 2


class UnsupportedError(ExportUsageError):
    """The file is sound, but holds something that export does not cover."""


class DamagedFileError(ExportError):
    """A file is truncated or does not hold what its kind promises."""


class UnsafePickleError(ExportError):
    """A pickle names something that is not on the list of what may be read; nothing of it was run."""


class ParityError(ExportError):
    """The graph does not answer as SB3's `predict` does."""


class GateError(ExportError):
    """No int8 variant passed its gates, and one was required."""
