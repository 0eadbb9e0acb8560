"""The state folder: what a server keeps between its runs, and what its processes share while they run."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steersman.serving.errors import ServingError
from steersman.serving.noise import SALT_BYTES
from steersman.serving.rollout.snapshot import RoutingSnapshot

SALT_FILE = "salt"
SNAPSHOT_FILE = "routing.json"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  a folder made by mkdtemp in there, not a file of known name


def prepare_state_dir(folder: Path) -> Path:
    """Makes the folder.

    Raises:
        ServingError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _unusable(folder, error) from None
    if not os.access(folder, os.W_OK):
        raise _unusable(folder, PermissionError(0, "not writable"))
    return folder


def load_salt(folder: Path) -> bytes:
    """The secret that noise is made from: read, or made on the first run (mode 0600)."""
    file = folder / SALT_FILE
    with contextlib.suppress(FileNotFoundError):
        salt = file.read_bytes()
        if len(salt) < SALT_BYTES:
            raise ServingError(
                "the salt is too short", where=str(file), hint="Delete it to have a new one made."
            )
        return salt
    _write_atomically(file, secrets.token_bytes(32))
    return file.read_bytes()


def save_snapshot(folder: Path, snapshot: RoutingSnapshot) -> None:
    """Keeps the last snapshot, for people and for a start without the store."""
    _write_atomically(folder / SNAPSHOT_FILE, snapshot.model_dump_json(indent=1).encode())


def write_ready_file(path: Path, content: bytes) -> None:
    """Writes the ready file as a whole."""
    _write_atomically(path, content)


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder for shared memory that is gone afterwards: in memory where the system offers that."""
    parent = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="steersman-", dir=parent) as folder:
        yield Path(folder)


def _write_atomically(path: Path, data: bytes) -> None:
    """Mode 0600; readers see the old content or the new, never a part."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except OSError as error:
        raise _unusable(path.parent, error) from None


def _unusable(folder: Path, error: OSError) -> ServingError:
    return ServingError(
        f"cannot be used to keep state: {error.strerror}",
        where=str(folder),
        hint="Choose another with --state-dir.",
    )
