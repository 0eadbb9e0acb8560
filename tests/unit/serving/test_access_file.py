"""The file of callers: what is refused, what it never shows, and what a change does."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from steersman.bundle.errors import UsageError
from steersman.serving.security import access_file
from steersman.serving.security.access import AccessList, new_token, token_hash
from steersman.serving.security.access_file import AccessFile, read_access

HASH = token_hash("stm_a")
ONE = f"callers:\n  - {{name: robot, role: decide, sha256: {HASH}}}\n"
OTHER = f'{{"callers": [{{"name": "ops", "role": "admin", "sha256": "{HASH}"}}]}}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of one caller, for its owner only."""
    path = tmp_path / "tokens.yaml"
    path.write_text(ONE)
    path.chmod(0o600)
    return path


def rewrite(path: Path, text: str) -> None:
    """Replaces the file as careful programs do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(path)


@pytest.mark.parametrize("text", [ONE, OTHER])
def test_yaml_and_json_are_read(path: Path, text: str) -> None:
    rewrite(path, text)
    (caller,) = read_access(path).callers
    assert caller.sha256 == HASH


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "got None"),
        ("callers: [", "tokens.yaml:1: not YAML"),
        ("callers:\n  - {name: a, role: decide, sha256: 2024-13-45}\n", "a value cannot be read"),
        ("callers: !!int x", "a value cannot be read"),
        ("callers: !!timestamp x", "a value cannot be read"),
        ("[" * 100_000, "a value cannot be read"),
        ("callers:\n  - {name: a, role: decide, sha256: 5}\n", "callers[0].sha256: not the hash of a token"),
        ("callers:\n  - {name: a, role: decide}\n", "must have either sha256 or certificate"),
        ("callers:\n  - {name: a, role: decide, shar256: a}\n", "callers[0].shar256: unknown field"),
        ("tokens: []\n", "unknown field"),
        (f"callers:\n  - {{name: a, role: decode, sha256: {HASH}}}\n", "callers[0].role"),
        (ONE + ONE.partition("\n")[2].replace("a, role", "b, role"), "two callers have the name 'robot'"),
    ],
)
def test_a_wrong_file_says_where(path: Path, text: str, said: str) -> None:
    rewrite(path, text)
    with pytest.raises(UsageError) as caught:
        read_access(path)
    assert said in str(caught.value)
    assert "tokens.yaml" in str(caught.value)


@pytest.mark.parametrize("entry", ["sha256: {}", "token: {}", "sha256: [{}]", "role: decide, sha256: {}"])
def test_a_token_in_the_file_is_not_shown(path: Path, entry: str) -> None:
    token = new_token()
    rewrite(path, f"callers:\n  - {{name: a, {entry.format(token)}}}\n")
    with pytest.raises(UsageError) as caught:
        read_access(path)
    assert token not in str(caught.value)


def test_a_change_is_seen_once(path: Path) -> None:
    file = AccessFile(path)
    assert not file.changed()
    rewrite(path, OTHER)
    assert file.changed()
    assert [caller.name for caller in file.access.callers] == ["ops"]
    assert not file.changed()


def test_a_file_written_anew_with_the_same_callers_is_no_change(path: Path) -> None:
    file = AccessFile(path)
    rewrite(path, f"# the same\n{ONE}")
    assert not file.changed()


def test_a_broken_or_missing_file_keeps_the_callers_and_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = AccessFile(path)
    rewrite(path, "callers: [")
    assert [file.changed(), file.changed()] == [False, False]
    path.unlink()
    assert [file.changed(), file.changed()] == [False, False]
    assert [caller.name for caller in file.access.callers] == ["robot"]
    assert [record.message for record in caplog.records] == ["callers unchanged: their file is wrong"] * 2
    path.write_text(OTHER)
    assert file.changed()


class Watched(AccessFile):
    """Tells when it has looked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.looked = asyncio.Event()

    def changed(self) -> bool:
        try:
            return super().changed()
        finally:
            self.looked.set()


async def test_following_outlives_every_file_and_every_defect(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller that is taken out after a broken file, and is not told of at the first attempt, is out."""
    monkeypatch.setattr(access_file, "POLL_S", 0.0)
    file, told = Watched(path), asyncio.Queue[AccessList]()
    attempts = 0

    def tell(access: AccessList) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise OSError(attempts)
        told.put_nowait(access)

    following = asyncio.create_task(file.follow(tell))
    async with asyncio.timeout(30):
        rewrite(path, ONE.replace(HASH, "2024-13-45"))
        file.looked.clear()
        await file.looked.wait()
        rewrite(path, OTHER)
        assert [caller.name for caller in (await told.get()).callers] == ["ops"]
    assert not following.done()
    following.cancel()
    said = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert said == ["callers unchanged: their file is wrong", "defect while looking at the callers"]


def test_a_file_that_everybody_may_read_is_warned_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    AccessFile(path)
    assert not caplog.records
    path.chmod(0o644)
    AccessFile(path)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
