"""Arrays from a `.npz` file that anybody may have written: no pickles, and no more memory than is allowed."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from steersman.export.errors import DamagedFileError, ExportUsageError
from steersman.export.observations import Array

MOST_BYTES = 1024**3
"""Arrays of one file may not unpack to more: 38,000 Atari screens."""
_HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, Array]:
    """All arrays by name.

    Raises:
        ExportUsageError: The file cannot be read, or unpacks to more than `most_bytes`.
        DamagedFileError: It is not a whole `.npz` file of plain arrays.
    """
    try:
        with path.open("rb") as stream:
            _refuse_single(stream, path)
            return _unpacked(stream, path, most_bytes)
    except OSError as error:
        raise ExportUsageError(f"it cannot be read: {error.strerror or error}", where=str(path)) from error


def _refuse_single(stream: IO[bytes], path: Path) -> None:
    magic = np.lib.format.MAGIC_PREFIX
    if stream.read(len(magic)) == magic:
        raise ExportUsageError("it holds one array without a name", where=str(path), expected="a .npz file")


def _unpacked(stream: IO[bytes], path: Path, most_bytes: int) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            _check_size(members, path, most_bytes)
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except ExportUsageError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds for a damaged file
        raise DamagedFileError(
            f"it is no whole file of plain arrays: {' '.join(str(error).split())}",
            where=str(path),
            expected="what numpy.savez writes",
        ) from error


def _check_size(members: Sequence[zipfile.ZipInfo], path: Path, most_bytes: int) -> None:
    if sum(member.file_size for member in members) > most_bytes:
        raise ExportUsageError(
            "its arrays are too large", where=str(path), expected=f"at most {most_bytes:,} bytes"
        )


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """One array; numpy makes room for what a header says, so that has to be what follows it."""
    with archive.open(member) as stream:
        shape, _, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or size != member.file_size - stream.tell():
            msg = f"the header of {member.filename} does not describe plain data of its size"
            raise ValueError(msg)
    with archive.open(member) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
