"""The SB3 zip as a file: which members it has and what they hold, before anything is made of it."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steersman.bundle.digest import sha256
from steersman.bundle.errors import brief
from steersman.export.errors import (
    DamagedFileError,
    ExportUsageError,
    UnsafePickleError,
    UnsupportedError,
)
from steersman.export.reading.extent import check_extent
from steersman.export.reading.trusted import TRUST_HINT, TrustedReading
from steersman.export.reading.unpickle import read_pickle

DATA = "data"
WEIGHTS = "policy.pth"
VERSION = "_stable_baselines3_version"
SYSTEM = "system_info.txt"

TRUSTABLE = frozenset({"policy_class", "policy_kwargs"})
"""Fields that may hold code of the user's: policies, features extractors, activations."""

_LIBRARIES = {
    "Python": "python",
    "PyTorch": "torch",
    "Numpy": "numpy",
    "Gymnasium": "gymnasium",
    "Gym": "gym",
    "OpenAI Gym": "gym",
}
MOST_BYTES = 2 * 1024**3
"""What is read of a file may not unpack to more than this; the policies in mind are far smaller."""
MOST_DATA = 2**25
"""Of the member `data`, whose JSON takes many times its size in memory; 16 KiB are usual, 1 MiB is rare."""
ALIASES = 4
"""The same numbers may go by several names: SB3 gives three to a features extractor. More are made up."""
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Archive:
    """An SB3 file, read into memory.

    Attributes:
        path: Where it was read from.
        sha256: Digest of its bytes.
        fields: The JSON of its member `data`. What JSON cannot hold is there as pickles, not yet read.
        libraries: Versions that saved it, as far as it tells.
        weights: The member `policy.pth`, not yet read.
    """

    path: Path
    sha256: str
    fields: Mapping[str, Any]
    libraries: Mapping[str, str]
    weights: bytes

    def field(self, name: str, trusted: TrustedReading | None = None) -> Any:
        """A field's value; its pickle, if it is one, is read with the allow-list.

        Args:
            name: The field.
            trusted: Reads it for real where it names what is not on the list; None refuses that.

        Raises:
            DamagedFileError: There is no such field, or its pickle is damaged.
            UnsafePickleError: Its pickle names what is not on the list.
        """
        where = f"{self.path}: {name}"
        if name not in self.fields:
            raise DamagedFileError("the field is missing", where=where, hint="Save the model again with SB3.")
        value = self.fields[name]
        if not isinstance(value, dict) or ":serialized:" not in value:
            check_extent(value, where)
            return value
        try:
            data = base64.b64decode(value[":serialized:"], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise DamagedFileError("not base64", where=where) from error
        try:
            return read_pickle(data, where, TRUST_HINT if name in TRUSTABLE else None)
        except UnsafePickleError:
            if trusted is None or name not in TRUSTABLE:
                raise
            return trusted.read(data, where)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The policy's weights, by torch's weights-only loader.

        Raises:
            DamagedFileError: They cannot be read as plain tensors, or are too large.
        """
        where = f"{self.path}: {WEIGHTS}"
        try:
            inside = _inside(self.weights)
            _check_sizes(inside, where, MOST_BYTES)
            weights = torch.load(io.BytesIO(self.weights), map_location="cpu", weights_only=True)
        except DamagedFileError:
            raise
        except Exception as error:  # torch raises many kinds for a malformed file
            raise DamagedFileError(
                f"the weights cannot be read as plain tensors: {brief(error)}", where=where
            ) from error
        if not isinstance(weights, dict) or not all(map(_is_plain, weights.values())):
            raise DamagedFileError("it does not hold tensors by name", where=where)
        if sum(tensor.nbytes for tensor in weights.values()) > ALIASES * (_size(inside) or len(self.weights)):
            raise DamagedFileError("its tensors are larger than the numbers that it holds", where=where)
        return dict(weights)


def read_archive(path: Path) -> Archive:
    """Reads an SB3 zip.

    Raises:
        ExportUsageError: It is no zip, or a zip of something else.
        DamagedFileError: It is truncated, malformed or too large.
    """
    data = _read_bytes(path)
    members = _members(data, path)
    if DATA not in members or WEIGHTS not in members:
        raise _something_else(path, members)
    return Archive(path, sha256(data), _fields(members[DATA], path), _libraries(members), members[WEIGHTS])


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportUsageError(
            f"it cannot be read: {error.strerror}", where=str(path), expected="a zip that SB3's `save` wrote"
        ) from error


def _members(data: bytes, path: Path) -> dict[str, bytes]:
    if not data.startswith(b"PK"):
        pointer = data.startswith(b"version https://git-lfs")
        raise ExportUsageError(
            "this is not a zip file",
            where=str(path),
            expected="a zip that SB3's `save` wrote",
            hint="It is a pointer of Git LFS: fetch the file with `git lfs pull`." if pointer else None,
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if min((member.header_offset for member in archive.infolist()), default=0):
                # The directory found is that of a zip inside: torch's files are zips, stored as they are.
                raise zipfile.BadZipFile("its end is missing")
            wanted = {DATA, WEIGHTS, VERSION, SYSTEM}
            found = {member.filename: member for member in archive.infolist()}
            _check_sizes([member for name, member in found.items() if name in wanted], str(path), MOST_BYTES)
            _check_sizes([found[DATA]] if DATA in found else [], f"{path}: {DATA}", MOST_DATA)
            return {name: _read(archive, info) if name in wanted else b"" for name, info in found.items()}
    except _BROKEN as error:
        raise DamagedFileError(
            f"the zip is truncated or damaged: {brief(error)}",
            where=str(path),
            hint="Copy the file again.",
        ) from error


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member, of which no more is unpacked than its size says."""
    with archive.open(member) as file:
        return file.read(member.file_size)


def _inside(data: bytes) -> list[zipfile.ZipInfo]:
    if not data.startswith(b"PK"):
        return []  # torch's older format, which does not compress
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.infolist()


def _check_sizes(members: Sequence[zipfile.ZipInfo], where: str, most: int) -> None:
    if (size := _size(members)) > most:
        raise DamagedFileError(
            f"it would unpack to {size:,} bytes", where=where, expected=f"at most {most:,}"
        )


def _size(members: Sequence[zipfile.ZipInfo]) -> int:
    return sum(member.file_size for member in members)


def _is_plain(value: object) -> bool:
    """Whether it is a tensor with numbers of its own: not sparse, and not one that was only described."""
    return isinstance(value, torch.Tensor) and value.layout is torch.strided and value.device.type == "cpu"


def _something_else(path: Path, members: Mapping[str, bytes]) -> ExportUsageError:
    if DATA in members and "parameters" in members:
        return UnsupportedError(
            "this file is of Stable-Baselines 2 (TensorFlow)",
            where=str(path),
            expected="Stable-Baselines3",
            hint="Train the policy again with SB3; its weights cannot be taken over.",
        )
    inside = ", ".join(sorted(members)[:4]) or "nothing"
    return ExportUsageError(
        f"this zip is not an SB3 model: it holds {inside}",
        where=str(path),
        expected=f"the members {DATA!r} and {WEIGHTS!r}",
    )


def _fields(data: bytes, path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError, MemoryError) as error:
        raise DamagedFileError(f"not JSON: {error}", where=f"{path}: {DATA}") from error
    if not isinstance(fields, dict):
        raise DamagedFileError("not a JSON object", where=f"{path}: {DATA}")
    return fields


def _libraries(members: Mapping[str, bytes]) -> dict[str, str]:
    found = {}
    if VERSION in members:
        found["stable_baselines3"] = members[VERSION].decode("utf-8", "replace").strip()
    for line in members.get(SYSTEM, b"").decode("utf-8", "replace").splitlines():
        if match := re.match(r"(?:- )?([\w ]+): (\S+)", line):
            name = _LIBRARIES.get(match[1])
            if name:
                found[name] = match[2]
    return found
