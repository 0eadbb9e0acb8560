"""The versions in the repository: each is checked once, and again when its files change."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import BundleCorruptError, SteersmanError
from steersman.bundle.manifest import Manifest
from steersman.bundle.reference import Reference
from steersman.bundle.repository import Repository
from steersman.bundle.signature import Trust, check_signatures
from steersman.serving.errors import ServingError
from steersman.serving.loading.references import read_references

log = logging.getLogger(__name__)

_Files = tuple[tuple[str, int, int, int], ...]
"""Name, inode, size and time of change of every file of a bundle."""


class UnloadableError(ServingError):
    """Workers could not load the version."""


class DamagedVersionError(BundleCorruptError):
    """A file of a version is not as it was published. The text names the file, but not where the bundle lies.

    Args:
        error: What was found.
        folder: The bundle's folder.
        version: The version.
    """

    def __init__(self, error: BundleCorruptError, folder: Path, version: int) -> None:
        self.version = version
        name = _inside(error.where or "", folder)
        super().__init__(
            f"{name}: {error.what}" if name else error.what,
            expected=error.expected,
            hint=f"Copy the bundle of version {version} here again, or export the policy as a new version.",
        )


@dataclass(frozen=True, slots=True)
class CheckedVersion:
    """A version whose every byte has been checked.

    Attributes:
        manifest: Its manifest.
        digest: Digest of the manifest.
        references: What drift is measured against, by mode.
    """

    manifest: Manifest
    digest: str
    references: Mapping[str, Reference]


class Catalog:
    """Opens versions, and remembers what came of it.

    Args:
        repository: The bundles.
        trust: Whose signatures are asked for.
    """

    def __init__(self, repository: Repository, trust: Trust) -> None:
        self.repository = repository
        self._trust = trust
        self._checked: dict[tuple[str, int], tuple[_Files, CheckedVersion | SteersmanError]] = {}
        self._refused: dict[str, str] = {}
        self._policies: tuple[str, ...] | None = None
        self._versions: dict[str, tuple[int, ...]] = {}

    def look(self) -> None:
        """Lists the repository anew from now on."""
        self._policies = None
        self._versions.clear()

    def policies(self) -> tuple[str, ...]:
        """Names of the policies that were there at the last look.

        Raises:
            BundleNotFoundError: A folder cannot be read.
        """
        if self._policies is None:
            self._policies = self.repository.policies()
        return self._policies

    def versions(self, policy: str) -> tuple[int, ...]:
        """Versions of a policy at the last look, ascending; empty where there is none or no name of one.

        Raises:
            BundleNotFoundError: The folder cannot be read.
        """
        if policy not in self._versions:
            self._versions[policy] = self.repository.versions(policy) if policy in self.policies() else ()
        return self._versions[policy]

    def version(self, policy: str, number: int) -> CheckedVersion:
        """A version, checked.

        Raises:
            BundleError: It is not there, was changed (a `DamagedVersionError`), or is not signed as is asked
                for.
            UnloadableError: Workers could not load it.
        """
        found = self._cached(policy, number)
        if isinstance(found, SteersmanError):
            raise found.with_traceback(None)
        if why := self._refused.get(found.digest):
            raise UnloadableError(why)
        return found

    def refuse(self, digest: str, why: str) -> None:
        """Remembers that workers could not load the bundle of this digest."""
        self._refused[digest] = why

    def is_refused(self, digest: str) -> bool:
        """Whether workers could not load the bundle of this digest."""
        return digest in self._refused

    def forgive(self) -> None:
        """Lets versions that workers could not load be tried again."""
        self._refused.clear()

    def _cached(self, policy: str, number: int) -> CheckedVersion | SteersmanError:
        files = _files(self.repository.root / policy / str(number))
        known = self._checked.get((policy, number))
        if known is not None and known[0] == files:
            return known[1]
        found: CheckedVersion | SteersmanError
        try:
            found = self._check(policy, number)
        except SteersmanError as error:
            found = error
        except Exception:
            log.exception("defect while reading a bundle", extra={"policy": policy, "version": number})
            found = ServingError("a defect was met while reading it; the server's log has the details")
        self._checked[policy, number] = (files, found)
        return found

    def _check(self, policy: str, number: int) -> CheckedVersion:
        try:
            bundle = self.repository.open(policy, number)
            self._check_signatures(bundle)
            bundle.verify()
            return CheckedVersion(bundle.manifest, bundle.digest, read_references(bundle))
        except BundleCorruptError as error:
            folder = self.repository.root / policy / str(number)
            raise DamagedVersionError(error, folder, number) from None

    def _check_signatures(self, bundle: Bundle) -> None:
        trusted = check_signatures(bundle, self._trust).trusted
        if self._trust.keys and not trusted:  # else it would have been refused
            manifest = bundle.manifest
            log.warning(
                "no trusted key signed the version",
                extra={"policy": manifest.policy, "version": manifest.version},
            )


def _inside(where: str, folder: Path) -> str:
    """The file of a bundle that an error is about; empty for what is not in it, which callers do not see."""
    path = Path(where)
    return path.name if path.parent in {folder, Path()} else ""


def _files(folder: Path) -> _Files:
    try:
        stats = [(entry.name, entry.stat()) for entry in sorted(folder.iterdir())]
    except OSError:
        return ()
    return tuple((name, found.st_ino, found.st_size, found.st_mtime_ns) for name, found in stats)
