"""A bundle is read only when every byte is as it was published."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steersman.bundle.bundle import Bundle
from steersman.bundle.digest import sha256
from steersman.bundle.errors import BundleCorruptError, BundleNotFoundError
from steersman.bundle.manifest import MANIFEST_FILE, Manifest


def test_what_was_published_is_read_back(toy: Bundle) -> None:
    toy.verify()
    again = Bundle.open(toy.path)
    assert again == toy
    assert again.digest == sha256((toy.path / MANIFEST_FILE).read_bytes())
    for name, entry in toy.manifest.files.items():
        assert len(toy.read(name)) == entry.size_bytes


def test_one_changed_byte_of_any_file_is_noticed(fresh: Bundle) -> None:
    for name in fresh.manifest.files:
        path = fresh.path / name
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            changed = bytearray(whole)
            changed[place] ^= 0x40
            path.write_bytes(bytes(changed))
            with pytest.raises(BundleCorruptError, match="content was changed"):
                fresh.verify()
        path.write_bytes(whole)
    fresh.verify()


def test_a_missing_file_is_named(fresh: Bundle) -> None:
    (fresh.path / "policy.onnx").unlink()
    with pytest.raises(BundleCorruptError, match=r"policy\.onnx: file of the bundle is missing"):
        fresh.verify()


def test_files_beside_the_manifest_s_are_not_read(fresh: Bundle) -> None:
    (fresh.path / "extra.bin").touch()
    with pytest.raises(BundleCorruptError, match="does not name this file"):
        fresh.read("extra.bin")


def test_folders_without_a_manifest_are_no_bundles(tmp_path: Path, toy: Bundle) -> None:
    for path in (tmp_path, tmp_path / "gone", toy.path / "policy.onnx"):
        with pytest.raises(BundleNotFoundError, match="no bundle here") as caught:
            Bundle.open(path)
        assert caught.value.exit_code == 2


def test_a_folder_in_the_place_of_a_file_is_corrupt(fresh: Bundle) -> None:
    for name in ("policy.onnx", MANIFEST_FILE):
        (fresh.path / name).unlink()
        (fresh.path / name).mkdir()
    for read in (fresh.verify, lambda: Bundle.open(fresh.path)):
        with pytest.raises(BundleCorruptError, match="cannot be read: Is a directory") as caught:
            read()
        assert str(fresh.path) not in caught.value.what
        assert str(fresh.path) in str(caught.value)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ELOOP])
def test_whatever_the_system_says_is_told_without_the_path(
    fresh: Bundle, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    for read in (fresh.verify, lambda: Bundle.open(fresh.path)):
        with pytest.raises(BundleCorruptError, match=re.escape(os.strerror(number))) as caught:
            read()
        assert str(fresh.path) not in caught.value.what


Data = dict[str, Any]
Change = Callable[[Data], object]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: m.pop("contract"), "contract: Field required"),
        (lambda m: m.update(surprise=1), "surprise: Extra inputs"),
        (lambda m: m.update(schema_version=2), "schema version 1: schema_version"),
        (lambda m: m.update(policy="../up"), "policy: String should match"),
        (lambda m: m.update(version=0), "version: "),
        (lambda m: m["files"].update({"../../etc/passwd": {"sha256": "0" * 64, "size_bytes": 1}}), "files"),
        (lambda m: m["variants"]["fp32"].update(file="/etc/passwd"), "variants.fp32.file"),
        (lambda m: m["contract"]["action"].update(kind="dance"), "contract.action"),
        (lambda m: m["contract"]["action"].update(n=7), "contract does not match its digest"),
        (lambda m: m["contract"]["observations"][0].update(low=[0, 0]), "low has 2 entries"),
    ],
)
def test_a_malformed_manifest_is_refused_in_one_line(fresh: Bundle, change: Change, expected: str) -> None:
    file = fresh.path / MANIFEST_FILE
    data = json.loads(file.read_bytes())
    change(data)
    file.write_text(json.dumps(data))
    with pytest.raises(BundleCorruptError, match=expected) as caught:
        Bundle.open(fresh.path)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_manifest_that_is_no_object_is_refused(fresh: Bundle, content: bytes) -> None:
    (fresh.path / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(BundleCorruptError, match="not a manifest") as caught:
        Bundle.open(fresh.path)
    assert "\n" not in str(caught.value)


def test_manifests_round_trip(toy: Bundle) -> None:
    assert Manifest.model_validate_json(toy.manifest.model_dump_json()) == toy.manifest
