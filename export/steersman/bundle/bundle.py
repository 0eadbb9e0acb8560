"""Reading one bundle: every byte that is used has been checked against the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from steersman.bundle.digest import contract_digest, sha256
from steersman.bundle.errors import BundleCorruptError, BundleNotFoundError
from steersman.bundle.manifest import MANIFEST_FILE, SCHEMA_VERSION, Manifest


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose manifest has been read.

    Attributes:
        path: Its folder.
        manifest: The manifest.
        digest: SHA-256 of the manifest's bytes; names the bundle as a whole, since those name every file.
    """

    path: Path
    manifest: Manifest
    digest: str

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Reads the manifest.

        Raises:
            BundleNotFoundError: There is no manifest.
            BundleCorruptError: The manifest cannot be read, is malformed or does not agree with itself.
        """
        file = path / MANIFEST_FILE
        try:
            data = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise BundleNotFoundError(
                "no bundle here",
                where=str(path),
                expected=f"a folder with {MANIFEST_FILE}",
                hint=_versions_below(path),
            ) from None
        except OSError as error:
            raise _unreadable("the manifest", str(file), error) from error
        manifest = _parse(data, file)
        if contract_digest(manifest.contract) != manifest.contract_digest:
            raise BundleCorruptError(
                "the contract does not match its digest", where=str(file), hint="Export the policy again."
            )
        return cls(path, manifest, sha256(data))

    def read(self, name: str) -> bytes:
        """Reads one file and checks it.

        Raises:
            BundleCorruptError: The file is not in the manifest, is missing, cannot be read or was changed.
        """
        entry = self.manifest.files.get(name)
        where = str(self.path / name)
        if entry is None:
            raise BundleCorruptError("the manifest does not name this file", where=where)
        try:
            data = (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise BundleCorruptError("file of the bundle is missing", where=where) from None
        except OSError as error:
            raise _unreadable("file of the bundle", where, error) from error
        if (found := sha256(data)) != entry.sha256:
            raise BundleCorruptError(
                f"content was changed: SHA-256 is {found[:12]}…",
                where=where,
                expected=f"{entry.sha256[:12]}…",
                hint="Copy the bundle again or export the policy again.",
            )
        return data

    def verify(self) -> None:
        """Checks every file.

        Raises:
            BundleCorruptError: A file is missing, cannot be read or was changed.
        """
        for name in self.manifest.files:
            self.read(name)


def _versions_below(path: Path) -> str | None:
    """What to say to somebody who named the policy and forgot the version."""
    versions = sorted(
        int(found.parent.name) for found in path.glob(f"*/{MANIFEST_FILE}") if found.parent.name.isdigit()
    )
    return f"It holds versions; did you mean {path / str(versions[-1])}?" if versions else None


def _unreadable(what: str, where: str, error: OSError) -> BundleCorruptError:
    reason = error.strerror or type(error).__name__
    return BundleCorruptError(f"{what} cannot be read: {reason}", where=where)


def _parse(data: bytes, file: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BundleCorruptError(
            f"not a manifest of schema version {SCHEMA_VERSION}: {place}: {first['msg']}",
            where=str(file),
            hint="Export the policy again with this version of Steersman.",
        ) from None
