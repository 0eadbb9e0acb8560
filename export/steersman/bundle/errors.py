"""The root of every error that Steersman explains to a person.

It lives in the lowest layer so that each package can derive its own root from it and the command line
can print any of them the same way: one line that says what was wrong, where, what was expected and
what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class SteersmanError(Exception):
    """A failure that a person can act on.

    Args:
        what: What was wrong, in a few words.
        where: The file, option, field or address concerned.
        expected: What would have been right.
        hint: What to do next.
    """

    exit_code: ClassVar[int] = 1
    """Exit status of a command that ends with this error: 1 the work failed, 2 used wrongly."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.hint = hint
        super().__init__(self._line())

    def _line(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        if self.expected:
            line += f"; expected {self.expected}"
        if not self.hint:
            return line
        return f"{line} {self.hint}" if line.endswith((".", "?")) else f"{line}. {self.hint}"


class UsageError(SteersmanError):
    """The command, file or setting was used wrongly; nothing was attempted."""

    exit_code = 2


class BundleError(SteersmanError):
    """A bundle cannot be trusted or read."""


class BundleNotFoundError(BundleError):
    """There is no such policy or version in the repository."""

    exit_code = 2


class BundleCorruptError(BundleError):
    """A file of the bundle is missing, changed or malformed."""


class BundleExistsError(BundleError):
    """The version to be written exists already; bundles are never changed in place."""

    exit_code = 2


def brief(error: Exception, most: int = 200) -> str:
    """What another's exception says, on one line of so many characters; its kind where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__
