"""What a server takes for itself before it plans or changes anything: its state folder and its ports."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from steersman.bundle.errors import UsageError
from steersman.serving.settings import ServerSettings
from steersman.serving.state import prepare_state_dir
from steersman.serving.supervising.http import HttpServer
from steersman.serving.supervising.ports import HeldPort, check_free

LOCK_FILE = "server.lock"
log = logging.getLogger(__name__)


class Held(NamedTuple):
    """What is held.

    Attributes:
        grpc: The port that workers share.
        http: The HTTP port; it answers once it is told with what.
    """

    grpc: HeldPort
    http: HttpServer


@contextmanager
def holding(settings: ServerSettings) -> Iterator[Held]:
    """Takes folder and ports, and lets them go afterwards.

    The control port is only looked at: gRPC opens it later, and shares it with nobody.

    Raises:
        ServingError: A port is taken, or the state folder cannot be used.
        UsageError: Another server uses the state folder.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(held_folder(prepare_state_dir(settings.state_dir)))
        port = stack.enter_context(closing(HeldPort(settings.host, settings.port)))
        http = stack.enter_context(closing(HttpServer(settings.http_host, settings.http_port)))
        check_free("control", settings.control_host, settings.control_port, "--control-port")
        yield Held(port, http)


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Locks the state folder, for two servers in one would write over each other's snapshots.

    The kernel lets go of the lock when this process ends, however it does. Workers do not inherit it.

    Raises:
        UsageError: Another server has it.
    """
    path = folder / LOCK_FILE
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(folder, file.read(256)) from None
        except OSError as error:  # a file system without locks
            log.warning(
                "the state folder cannot be locked", extra={"where": str(path), "why": error.strerror}
            )
        file.truncate()
        file.write(f"{os.getpid()} {socket.gethostname()}\n")
        file.flush()
        yield


def _in_use(folder: Path, holder: str) -> UsageError:
    pid, _, host = holder.strip().partition(" ")
    elsewhere = f" on {host}" if host not in {"", socket.gethostname()} else ""
    return UsageError(
        f"another server uses this state folder: process {pid or 'unknown'}{elsewhere}",
        where=str(folder),
        hint="End that one, or give this one a folder of its own with --state-dir.",
    )
