"""Named arrays in a file: npz without pickle, read with limits."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.errors import BundleCorruptError

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
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue())
    return buffer.getvalue()


def unpack(data: bytes, where: str) -> dict[str, Array]:
    """The arrays of an npz file.

    Raises:
        BundleCorruptError: It is not an npz file, holds objects, or unpacks to more than `MAX_BYTES`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
                raise BundleCorruptError(
                    "arrays are too large", where=where, expected=f"at most {MAX_BYTES} bytes"
                )
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile, KeyError) as error:
        raise BundleCorruptError(f"not a file of plain arrays: {error}", where=where) from error
