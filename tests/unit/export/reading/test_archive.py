"""Zip files that would unpack to more than they should."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from steersman.export.errors import DamagedFileError
from steersman.export.reading import archive as module
from steersman.export.reading.archive import DATA, WEIGHTS, read_archive

LIMIT = 1_000_000


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", LIMIT)


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("bomb", [DATA, WEIGHTS, "system_info.txt"])
def test_members_that_unpack_to_too_much_are_refused(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(zipped(**{DATA: b"{}", WEIGHTS: b"", bomb: bytes(LIMIT + 1)}))
    assert path.stat().st_size < LIMIT / 100
    with pytest.raises(
        DamagedFileError, match=r"would unpack to 1,000,00\d bytes; expected at most 1,000,000"
    ):
        read_archive(path)


def test_members_that_are_not_read_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(zipped(**{DATA: b"{}", WEIGHTS: b"", "pytorch_variables.pth": bytes(LIMIT + 1)}))
    assert read_archive(path).fields == {}


def test_a_member_that_lies_about_its_size_is_unpacked_no_further(tmp_path: Path) -> None:
    whole = zipped(**{DATA: b" " * (LIMIT + 1), WEIGHTS: b""})
    path = tmp_path / "model.zip"
    path.write_bytes(whole.replace(struct.pack("<L", LIMIT + 1), struct.pack("<L", 2)))
    with pytest.raises(DamagedFileError, match="Bad CRC"):
        read_archive(path)


def test_weights_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(zipped(**{DATA: b"{}", WEIGHTS: zipped(**{"archive/data/0": bytes(LIMIT + 1)})}))
    with pytest.raises(DamagedFileError, match=r"policy\.pth: it would unpack to"):
        read_archive(path).tensors()


@pytest.mark.parametrize("data", [b"[" * 200_000, b'{"a":' * 200_000, b"[]", b"\xff"])
def test_data_that_is_no_object_ends_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(zipped(**{DATA: data, WEIGHTS: b""}))
    with pytest.raises(DamagedFileError, match=r"data: not (JSON|a JSON object)"):
        read_archive(path)


def test_data_is_of_usual_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DATA", 1000)
    path = tmp_path / "model.zip"
    path.write_bytes(zipped(**{DATA: bytes(1001), WEIGHTS: b""}))
    with pytest.raises(
        DamagedFileError, match="data: it would unpack to 1,001 bytes; expected at most 1,000"
    ):
        read_archive(path)


def test_usual_models_are_read(plain_zip: Path) -> None:
    assert read_archive(plain_zip).tensors()
