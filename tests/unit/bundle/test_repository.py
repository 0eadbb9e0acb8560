"""Publishing: all of a bundle or nothing, and no version twice."""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle import repository as module
from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import (
    BundleCorruptError,
    BundleError,
    BundleExistsError,
    BundleNotFoundError,
    UsageError,
)
from steersman.bundle.manifest import FileDigest, Manifest
from steersman.bundle.repository import Repository, check_policy_name


def publish(
    root: Path, toy: Bundle, version: int | None = None, policy: str = "toy", *, overwrite: bool = False
) -> Bundle:
    """Publishes the toy again, without making it again."""
    files = {name: toy.read(name) for name in toy.manifest.files}

    def build(claimed: int, digests: dict[str, FileDigest]) -> Manifest:
        return toy.manifest.model_copy(update={"version": claimed, "policy": policy, "files": digests})

    return Repository(root).publish(policy, files, build, version, overwrite=overwrite)


def test_versions_count_up_from_one(tmp_path: Path, toy: Bundle) -> None:
    assert [publish(tmp_path, toy).manifest.version for _ in range(3)] == [1, 2, 3]
    assert publish(tmp_path, toy, version=10).path == tmp_path / "toy" / "10"
    assert publish(tmp_path, toy).manifest.version == 11
    repository = Repository(tmp_path)
    assert repository.versions("toy") == (1, 2, 3, 10, 11)
    assert repository.policies() == ("toy",)
    assert repository.open("toy").manifest.version == 11
    assert repository.open("toy", 2).manifest.version == 2


def test_an_existing_version_is_never_changed(tmp_path: Path, toy: Bundle) -> None:
    first = publish(tmp_path, toy)
    with pytest.raises(BundleExistsError, match="version 1 exists already") as caught:
        publish(tmp_path, toy, version=1)
    assert caught.value.exit_code == 2
    assert Bundle.open(first.path) == first
    assert [entry.name for entry in (tmp_path / "toy").iterdir()] == ["1"]


def test_an_existing_version_is_replaced_when_that_is_asked(tmp_path: Path, toy: Bundle) -> None:
    first = publish(tmp_path, toy)
    (first.path / "left.over").write_text("of the first")
    again = publish(tmp_path, toy, version=1, overwrite=True)
    assert again.path == first.path
    assert not (again.path / "left.over").exists()
    again.verify()
    assert publish(tmp_path, toy, version=3, overwrite=True).manifest.version == 3
    assert sorted(entry.name for entry in (tmp_path / "toy").iterdir()) == ["1", "3"]


def test_the_old_version_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, toy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(tmp_path, toy)
    (first.path / "mark").write_text("the old one")
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name.startswith(".writing-") and not target.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(BundleError, match="could not be written: Input/output error"):
        publish(tmp_path, toy, version=1, overwrite=True)
    assert (first.path / "mark").exists()
    assert [entry.name for entry in (tmp_path / "toy").iterdir()] == ["1"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.EIO, os.strerror(errno.EIO))])
@pytest.mark.parametrize("moved", ["1", ".writing-"])
def test_a_replacement_that_is_broken_off_leaves_one_whole_version(
    tmp_path: Path,
    toy: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    moved: str,
    fault: BaseException,
    after: bool,
) -> None:
    first = publish(tmp_path, toy)
    (first.path / "mark").write_text("the old one")
    rename, done = Path.rename, []

    def fail(path: Path, target: Path) -> Path:
        if path.name.startswith(moved) and not target.exists() and not done:
            done.append(path)
            if after:
                rename(path, target)
            raise fault
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((KeyboardInterrupt, BundleError)):
        publish(tmp_path, toy, version=1, overwrite=True)
    assert (first.path / "mark").exists() == (moved == "1" or not after)
    Repository(tmp_path).open("toy", 1).verify()
    assert [entry.name for entry in (tmp_path / "toy").iterdir()] == ["1"]


def test_a_new_version_that_is_broken_off_takes_no_number(
    tmp_path: Path, toy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupt)
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path, toy)
    assert publish(tmp_path, toy).manifest.version == 1


def test_exporters_at_the_same_time_never_share_a_version(tmp_path: Path, toy: Bundle) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: publish(tmp_path, toy), range(16)))
    assert sorted(bundle.manifest.version for bundle in made) == list(range(1, 17))
    for bundle in made:
        bundle.verify()
    assert not [entry for entry in (tmp_path / "toy").iterdir() if entry.name.startswith(".")]


def test_of_many_who_want_one_version_one_gets_it(tmp_path: Path, toy: Bundle) -> None:
    def attempt(_: int) -> bool:
        try:
            publish(tmp_path, toy, version=5)
        except BundleExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    Repository(tmp_path).open("toy", 5).verify()


def test_a_version_taken_meanwhile_is_passed_over(
    tmp_path: Path, toy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, toy)

    def free(_: Path) -> int:
        monkeypatch.undo()
        return 1

    monkeypatch.setattr(module, "_next_free", free)
    assert publish(tmp_path, toy).manifest.version == 2


def test_a_folder_still_being_copied_is_no_version_but_keeps_its_number(tmp_path: Path, toy: Bundle) -> None:
    first = publish(tmp_path, toy)
    copy = tmp_path / "toy" / "7"
    copy.mkdir()
    repository = Repository(tmp_path)
    assert repository.versions("toy") == (1,)
    assert repository.open("toy") == first
    with pytest.raises(BundleNotFoundError, match="no version 7"):
        repository.open("toy", 7)
    with pytest.raises(BundleExistsError):
        publish(tmp_path, toy, version=7)
    assert not list(copy.iterdir())
    assert publish(tmp_path, toy).manifest.version == 8
    (tmp_path / "toy" / "12").write_text("no folder at all")
    assert publish(tmp_path, toy).manifest.version == 13
    shutil.copytree(first.path, tmp_path / "new" / "1", ignore=shutil.ignore_patterns("manifest.json"))
    assert repository.policies() == ("toy",)


def test_a_copy_that_arrives_while_the_version_is_claimed_is_left_alone(
    tmp_path: Path, toy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def late(staging: Path, target: Path) -> Path:
        if target.name == "1":
            (target / "policy.onnx").write_bytes(b"another's")
        return rename(staging, target)

    monkeypatch.setattr(Path, "rename", late)
    assert publish(tmp_path, toy).manifest.version == 2
    assert (tmp_path / "toy" / "1" / "policy.onnx").read_bytes() == b"another's"
    with pytest.raises(BundleExistsError):
        publish(tmp_path, toy, version=1)


def test_a_claimed_number_is_given_back_when_the_bundle_cannot_be_moved(
    tmp_path: Path, toy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(BundleError, match="could not be written"):
        publish(tmp_path, toy)
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_listed_are_said(
    tmp_path: Path, toy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, toy)

    def fail(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "iterdir", fail)
    for ask in (Repository(tmp_path).policies, lambda: Repository(tmp_path).open("toy")):
        with pytest.raises(BundleNotFoundError, match="Permission denied") as caught:
            ask()
        assert "/" not in caught.value.what


def test_a_version_that_cannot_be_looked_into_is_not_passed_over(
    tmp_path: Path, toy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, toy)

    def fail(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "exists", fail)
    assert Repository(tmp_path).versions("toy") == (1,)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, toy: Bundle, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    write, written = module._write, []

    def fail(path: Path, data: bytes) -> None:
        if len(written) == after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        write(path, data)

    monkeypatch.setattr(module, "_write", fail)
    with pytest.raises(BundleError, match="No space left on device") as caught:
        publish(tmp_path, toy)
    assert caught.value.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_a_manifest_that_cannot_be_built_leaves_nothing(tmp_path: Path, toy: Bundle) -> None:
    def build(*_: object) -> Manifest:
        raise KeyError("variant")

    with pytest.raises(KeyError):
        Repository(tmp_path).publish("toy", {"policy.onnx": b""}, build)
    assert not list(tmp_path.iterdir())
    assert toy.path.exists()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path, toy: Bundle) -> None:
    (tmp_path / "toy").write_text("in the way")
    with pytest.raises(BundleError, match="toy: the bundle could not be written"):
        publish(tmp_path, toy)


def test_a_bundle_that_was_moved_is_refused(tmp_path: Path, toy: Bundle) -> None:
    made = publish(tmp_path, toy)
    made.path.rename(tmp_path / "toy" / "7")
    with pytest.raises(BundleCorruptError, match="policy 'toy' version 1; expected policy 'toy' version 7"):
        Repository(tmp_path).open("toy")


def test_what_is_not_there_is_said_with_what_is(tmp_path: Path, toy: Bundle) -> None:
    publish(tmp_path, toy)
    for policy, version, expected in (
        ("toi", None, "no policy 'toi'.*toy"),
        ("toy", 9, r"no version 9.*\[1\]"),
    ):
        with pytest.raises(BundleNotFoundError, match=expected) as caught:
            Repository(tmp_path).open(policy, version)
        assert caught.value.exit_code == 2


def test_other_entries_are_left_alone(tmp_path: Path, toy: Bundle) -> None:
    publish(tmp_path, toy)
    for name in ("01", "0", "latest", ".writing-x", "1.5"):
        (tmp_path / "toy" / name).mkdir()
    (tmp_path / "toy" / "2").touch()
    (tmp_path / "README").touch()
    (tmp_path / "Not a policy").mkdir()
    assert Repository(tmp_path).policies() == ("toy",)
    assert Repository(tmp_path).versions("toy") == (1,)
    assert Repository(tmp_path / "gone").policies() == ()


@given(st.text(max_size=80))
def test_policy_names_are_safe_as_folders(name: str) -> None:
    try:
        check_policy_name(name)
    except UsageError:
        return
    assert name == name.strip() != ""
    assert not set(name) & {"/", "\\", "\0", "\n", " "}
    assert not name.startswith((".", "-"))
    assert len(name) <= 63


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "A", "-a", ".a", "a\n", "a b", "é", "a" * 64])
def test_unsafe_policy_names_are_refused(tmp_path: Path, toy: Bundle, name: str) -> None:
    with pytest.raises(UsageError, match="is not a policy name"):
        publish(tmp_path, toy, policy=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a", "cartpole", "walker2d.v3", "0", "a_b-c.d", "a" * 63])
def test_plain_policy_names_are_taken(name: str) -> None:
    check_policy_name(name)
