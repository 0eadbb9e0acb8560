"""Arrays from files that anybody may have written."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.errors import SteersmanError
from steersman.export.errors import DamagedFileError, ExportUsageError
from steersman.export.sources.arrays import read_arrays


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    """A member that says it has this shape and holds eight bytes."""
    stream = io.BytesIO()
    form: Any = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, form)
    return stream.getvalue() + bytes(8)


def archive(folder: Path, member: bytes) -> Path:
    with zipfile.ZipFile(folder / "some.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("some.npy", member)
    return folder / "some.npz"


def test_arrays_are_read_by_name(tmp_path: Path) -> None:
    np.savez_compressed(
        tmp_path / "some.npz", a=np.arange(6).reshape(2, 3), b=np.asfortranarray(np.eye(2, 3))
    )
    read = read_arrays(tmp_path / "some.npz")
    assert read["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read["b"].tolist() == np.eye(2, 3).tolist()


@pytest.mark.parametrize(
    "member",
    [
        header((10**6, 10**6)),
        header((10**12,), "|V0"),
        header((-1, -1)),
        header((1,), "|O"),
        header((1,))[:-1],
        b"\x93NUMPY\x03\x00",
        b"no array",
    ],
)
def test_headers_that_promise_more_than_there_is_are_refused(tmp_path: Path, member: bytes) -> None:
    with pytest.raises(DamagedFileError, match="no whole file of plain arrays") as caught:
        read_arrays(archive(tmp_path, member))
    assert "\n" not in str(caught.value)


def test_files_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "some.npz", a=np.zeros(1_000))
    with pytest.raises(ExportUsageError, match="too large; expected at most 8,000 bytes"):
        read_arrays(tmp_path / "some.npz", 8_000)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_file_is_an_error_of_its_own_kind_or_still_arrays(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    file = archive(tmp_path_factory.mktemp("damaged"), header((1,)))
    content = bytearray(file.read_bytes())
    content[place % len(content)] = value
    file.write_bytes(content)
    try:
        read = read_arrays(file)
    except SteersmanError:
        return
    assert all(array.nbytes <= 8 for array in read.values())
