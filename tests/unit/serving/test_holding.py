"""The lock on a state folder, and ports that are taken before anything is planned."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from steersman.bundle.errors import UsageError
from steersman.serving.errors import ServingError
from steersman.serving.settings import ServerSettings
from steersman.serving.supervising.holding import LOCK_FILE, held_folder, holding

FREE = {"port": 0, "http_port": 0, "control_port": 0}


def settings_of(folder: Path, **given: Any) -> ServerSettings:
    return ServerSettings(repository=folder, state_dir=folder / "state", **{**FREE, **given})


def test_only_one_has_a_folder_and_the_next_gets_it_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with held_folder(tmp_path):
            with pytest.raises(UsageError, match=f"process {os.getpid()}. End that one") as raised:
                held_folder(tmp_path).__enter__()
            assert (raised.value.exit_code, raised.value.where) == (2, str(tmp_path))
    assert (tmp_path / LOCK_FILE).stat().st_mode & 0o777 == 0o600


def test_a_holder_on_another_host_is_named_with_it(tmp_path: Path) -> None:
    with held_folder(tmp_path):
        (tmp_path / LOCK_FILE).write_text("7 far-away\n")
        with pytest.raises(UsageError, match="process 7 on far-away"):
            held_folder(tmp_path).__enter__()


def test_where_there_are_no_locks_serving_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with caplog.at_level(logging.WARNING), held_folder(tmp_path):
        assert "cannot be locked" in caplog.text


@pytest.mark.parametrize("name", FREE)
def test_a_taken_port_gives_everything_back(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = settings_of(tmp_path, **{name: taken.getsockname()[1]})
        option = f"--{name.replace('_', '-')};"
        with pytest.raises(ServingError, match=f"cannot listen for .*in use. Choose another with {option}"):
            holding(settings).__enter__()
    with holding(settings) as held:
        assert held.grpc.port > 0


def test_what_is_held_is_nobody_elses(tmp_path: Path) -> None:
    with holding(settings_of(tmp_path)) as held:
        http = int(held.http.address.rpartition(":")[2])
        for name, port in (("port", held.grpc.port), ("http_port", http), ("control_port", http)):
            other = settings_of(tmp_path / "other", **{name: port})
            with pytest.raises(ServingError, match="in use"):
                holding(other).__enter__()
