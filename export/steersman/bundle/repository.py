"""A folder of bundles: `<root>/<policy>/<version>/`."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from steersman.bundle.bundle import Bundle
from steersman.bundle.digest import sha256
from steersman.bundle.errors import (
    BundleCorruptError,
    BundleError,
    BundleExistsError,
    BundleNotFoundError,
    UsageError,
)
from steersman.bundle.manifest import MANIFEST_FILE, POLICY_NAME, SIGNATURE_FILE, FileDigest, Manifest

Seal = Callable[[bytes], bytes]
"""From the bytes of a manifest to those of its `manifest.sig`."""
ManifestBuilder = Callable[[int, dict[str, FileDigest]], Manifest]
"""Makes the manifest from the version that was claimed and the digests of the other files."""


@dataclass(frozen=True, slots=True)
class Repository:
    """Bundles under one root folder. Versions are positive integers; other entries are left alone.

    A folder without a manifest is no version: it may still be on its way here. Its number stays taken.
    """

    root: Path

    def policies(self) -> tuple[str, ...]:
        """Names of the policies that have at least one version, sorted.

        Raises:
            BundleNotFoundError: A folder cannot be read.
        """
        names = (entry.name for entry in _entries(self.root))
        return tuple(
            sorted(name for name in names if re.fullmatch(POLICY_NAME, name) and self.versions(name))
        )

    def versions(self, policy: str) -> tuple[int, ...]:
        """Versions of a policy, ascending; empty where there is none.

        Raises:
            BundleNotFoundError: The folder cannot be read.
        """
        check_policy_name(policy)
        numbered = (entry for entry in _entries(self.root / policy) if _is_numbered(entry))
        return tuple(sorted(int(entry.name) for entry in numbered if _has_manifest(entry)))

    def open(self, policy: str, version: int | None = None) -> Bundle:
        """Opens one version, the newest by default.

        Raises:
            BundleNotFoundError: There is no such policy or version.
            BundleCorruptError: The manifest is malformed, or is another policy's.
        """
        versions = self.versions(policy)
        if not versions or (version is not None and version not in versions):
            raise BundleNotFoundError(
                f"no policy {policy!r}" if not versions else f"policy {policy!r} has no version {version}",
                where=str(self.root),
                expected=f"one of {list(versions or self.policies())}",
            )
        bundle = Bundle.open(self.root / policy / str(version or versions[-1]))
        return _named_alike(bundle, policy, version or versions[-1])

    def publish(
        self,
        policy: str,
        files: Mapping[str, bytes],
        build: ManifestBuilder,
        version: int | None = None,
        *,
        overwrite: bool = False,
        seal: Seal | None = None,
    ) -> Bundle:
        """Writes a bundle: all of it or nothing.

        The files are written to a temporary folder beside the versions. The version's own folder is then
        made, which fails where there is one, and the temporary one renamed onto it while it is still empty:
        two exporters never get the same version. Without `version`, the next above all numbers is taken.
        With `seal`, the bundle is signed before anybody can see it. With `overwrite`, an existing version is
        set aside first, and comes back if the new one cannot take its place.

        Raises:
            BundleExistsError: The version is there already.
            BundleError: The bundle could not be written, such as for want of space.
        """
        check_policy_name(policy)
        folder = self.root / policy
        try:
            folder.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
        except OSError as error:
            raise _cannot_write(folder, error) from error
        try:
            return self._publish(staging, files, build, version, overwrite=overwrite, seal=seal)
        except OSError as error:
            raise _cannot_write(folder, error) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            _remove_if_empty(folder)

    def _publish(
        self,
        staging: Path,
        files: Mapping[str, bytes],
        build: ManifestBuilder,
        version: int | None,
        *,
        overwrite: bool,
        seal: Seal | None,
    ) -> Bundle:
        for name, data in files.items():
            _write(staging / name, data)
        digests = file_digests(files)
        staging.chmod(0o755)
        while True:
            claimed = version or _next_free(staging.parent)
            manifest = build(claimed, digests).model_dump_json(indent=2).encode() + b"\n"
            _write(staging / MANIFEST_FILE, manifest)
            if seal is not None:
                _write(staging / SIGNATURE_FILE, seal(manifest))
            target = staging.parent / str(claimed)
            if _claim(staging, target) or (overwrite and _replace(staging, target)):
                return Bundle.open(target)
            if version is not None:
                raise BundleExistsError(
                    f"version {version} exists already",
                    where=str(target),
                    hint="Choose another version, leave the choice to the exporter, or give --overwrite.",
                )


def file_digests(files: Mapping[str, bytes]) -> dict[str, FileDigest]:
    """What a manifest says about these files."""
    return {name: FileDigest(sha256=sha256(data), size_bytes=len(data)) for name, data in files.items()}


def check_policy_name(policy: str) -> None:
    """Refuses names that are unsafe as a folder or a label.

    Raises:
        UsageError: The name is not a policy name.
    """
    if not re.fullmatch(POLICY_NAME, policy):
        raise UsageError(
            f"{policy!r} is not a policy name",
            expected="lower-case letters, digits, '.', '_' and '-', at most 63",
        )


def _entries(folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BundleNotFoundError(f"the folder cannot be read: {reason}", where=str(folder)) from error


def _is_numbered(entry: Path) -> bool:
    return bool(re.fullmatch(r"[1-9][0-9]{0,17}", entry.name))


def _has_manifest(folder: Path) -> bool:
    try:
        return (folder / MANIFEST_FILE).exists()
    except OSError:
        return True  # opening it will say why it cannot be read, which passing over it would not


def _next_free(folder: Path) -> int:
    return max((int(entry.name) for entry in _entries(folder) if _is_numbered(entry)), default=0) + 1


def _named_alike(bundle: Bundle, policy: str, version: int) -> Bundle:
    found = (bundle.manifest.policy, bundle.manifest.version)
    if found != (policy, version):
        raise BundleCorruptError(
            f"the manifest is of policy {found[0]!r} version {found[1]}",
            where=str(bundle.path),
            expected=f"policy {policy!r} version {version}",
            hint="Bundles must not be renamed; export the policy under the name wanted.",
        )
    return bundle


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _claim(staging: Path, target: Path) -> bool:
    try:
        target.mkdir()  # of all who try, one succeeds
    except FileExistsError:
        return False
    try:
        staging.rename(target)
    except BaseException as error:  # an interrupt too must not leave a version that is empty
        _remove_if_empty(target)
        if isinstance(error, OSError) and error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return False
        raise
    return True


def _replace(staging: Path, target: Path) -> bool:
    """Puts the new folder where another one is; that one is set aside in between."""
    aside = Path(tempfile.mkdtemp(prefix=".replaced-", dir=target.parent))
    old = aside / target.name
    try:
        target.rename(old)
        staging.rename(target)
    except BaseException:  # an interrupt too must not leave the version without its folder
        if not target.exists():
            old.rename(target)
        raise
    finally:
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
    return True


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


def _cannot_write(folder: Path, error: OSError) -> BundleError:
    return BundleError(
        f"the bundle could not be written: {error.strerror or error}",
        where=str(folder),
        hint="Nothing was left behind.",
    )
