"""The state folder: what a server keeps between its runs, and what its processes share while they run."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from steersman.bundle.errors import UsageError, brief
from steersman.serving.deciding.noise import SALT_BYTES
from steersman.serving.errors import ServingError
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.rollout.snapshot import RoutingSnapshot
from steersman.serving.rollout.state import DeploymentState

log = logging.getLogger(__name__)
SALT_FILE = "salt"
KEYRING_FILE = "keyring.json"
SALT_FILE_BYTES = 32
SNAPSHOT_FILE = "routing.json"
STATES_FILE = "deployments.json"
_RUN_PREFIX = "steersman-run-"
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
    """What noise and keyed ids are made from where the keyring has no salt: read, or made (mode 0600).

    Raises:
        ServingError: It cannot be read or made, or is too short.
    """
    file = folder / SALT_FILE
    try:
        if not file.exists():
            _create(file, secrets.token_bytes(SALT_FILE_BYTES))
        salt = file.read_bytes()
    except OSError as error:
        raise _unusable(file, error) from None
    if len(salt) < SALT_BYTES:
        raise ServingError("the salt is too short", where=str(file), hint="Delete it to have a new one made.")
    return salt


def load_keyring(file: Path) -> Keyring:
    """The keys of episode tokens: read, or made on the first run (mode 0600).

    Raises:
        ServingError: The file cannot be read or made.
        UsageError: It is no keyring.
    """
    try:
        if not file.exists():
            _create(file, Keyring.new().model_dump_json(indent=1).encode())
        text = file.read_bytes()
        if file.stat().st_mode & stat.S_IROTH:
            log.warning("everybody on this host may read the keyring", extra={"keyring": str(file)})
    except OSError as error:
        raise _unusable(file, error) from None
    try:
        return Keyring.model_validate_json(text)
    except ValidationError:  # its message would show keys
        raise UsageError(
            "no keyring",
            where=str(file),
            expected='{"current": id, "keys": {id: 64 hex digits}, "salt": 64 hex digits}',
        ) from None


def _create(file: Path, data: bytes) -> None:
    """Writes a file that must not be there yet; if another process is first, its content stays."""
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(data)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        Path(temporary).unlink()


def save_snapshot(folder: Path, snapshot: RoutingSnapshot) -> None:
    """Keeps the last snapshot, for people and for a start without the store."""
    write_atomically(folder / SNAPSHOT_FILE, snapshot.model_dump_json(indent=1).encode())


def load_snapshot(folder: Path) -> RoutingSnapshot | None:
    """The last snapshot of an earlier run; None where there is none that this release understands."""
    try:
        return RoutingSnapshot.model_validate_json((folder / SNAPSHOT_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("the last snapshot cannot be used", extra={"why": brief(error)})
        return None


_STATES: TypeAdapter[dict[str, DeploymentState]] = TypeAdapter(dict[str, DeploymentState])


def save_states(folder: Path, states: Mapping[str, DeploymentState]) -> None:
    """Keeps what the last snapshot was planned from, by policy, for a start without the store."""
    write_atomically(folder / STATES_FILE, _STATES.dump_json(dict(states), exclude_unset=True, indent=1))


def load_states(folder: Path) -> dict[str, DeploymentState] | None:
    """The deployments that an earlier run planned from; None where there are none that can be used."""
    try:
        return _STATES.validate_json((folder / STATES_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def prepare_ready_file(path: Path) -> None:
    """Removes one of an earlier run, before anything is started.

    Raises:
        UsageError: It could not be written later.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=f"--ready-file {path}") from None
    if not os.access(path.parent, os.W_OK):
        raise UsageError(
            "cannot be written", where=f"--ready-file {path}", expected="a file in a folder that is there"
        )


def write_ready_file(path: Path, content: bytes) -> None:
    """Writes the ready file as a whole."""
    write_atomically(path, content)


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder for shared memory that is gone afterwards: in memory where the system offers that.

    What a supervisor that was killed has left behind is removed first.
    """
    parent = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for left in parent.glob(f"{_RUN_PREFIX}*"):
        if _abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_RUN_PREFIX}{os.getpid()}-", dir=parent) as folder:
        yield Path(folder)


def _abandoned(folder: Path) -> bool:
    """Whether the process that made a run folder has ended; its id is in the name."""
    pid = folder.name.removeprefix(_RUN_PREFIX).partition("-")[0]
    return pid.isdigit() and int(pid) != os.getpid() and not Path(f"/proc/{pid}").exists()


def write_atomically(path: Path, data: bytes) -> None:
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
