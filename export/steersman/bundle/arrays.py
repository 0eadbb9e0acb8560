"""Named arrays in a file: npz without pickle, read with limits."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.errors import BundleCorruptError, brief

Array = NDArray[Any]
MAX_BYTES = 256 * 1024 * 1024
"""Arrays of one file may not unpack to more than this."""


def pack(arrays: Mapping[str, Array]) -> bytes:
    """The arrays as the bytes of an npz file; the same bytes for the same arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(arrays[name], order="C"), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def unpack(data: bytes, where: str) -> dict[str, Array]:
    """The arrays of an npz file.

    Raises:
        BundleCorruptError: It is not an npz file, holds objects, or unpacks to more than `MAX_BYTES`.
    """
    try:
        _check_size(data, where)
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except BundleCorruptError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds for a damaged file
        raise BundleCorruptError(f"not a file of plain arrays: {brief(error)}", where=where) from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):  # numpy gives members that are no arrays as bytes
            raise BundleCorruptError(f"not a file of plain arrays: {name!r} is none", where=where)
    return found


def _check_size(data: bytes, where: str) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
            raise BundleCorruptError(
                "arrays are too large", where=where, expected=f"at most {MAX_BYTES} bytes"
            )
