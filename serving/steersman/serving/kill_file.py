"""The kill switch as a file in the state folder: it needs no store, no server, and no more than a shell.

While the file is there no policy answers, whatever is in it: `touch kill-switch` will do. The supervisor
reads it before anything else, looks at it several times a second, and makes it when it is asked over the
control service. `steersman halt --state FOLDER` makes it, too.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from steersman.safety.commands import KillSwitch
from steersman.serving.errors import ServingError

KILL_FILE = "kill-switch"
MOST_BYTES = 64 * 1024
HOW = "A file of that name in the state folder, even an empty one, turns it on."


class KillFile(KillSwitch):
    """What is in the file.

    Attributes:
        shared: Whether the store says it to other hosts; the file then goes when the store no longer does.
    """

    shared: bool = False

    @property
    def kill_switch(self) -> KillSwitch:
        """What workers are told."""
        return KillSwitch(actor=self.actor, reason=self.reason, at_unix_nanos=self.at_unix_nanos)


UNREADABLE = KillFile(reason="the file of the kill switch cannot be read")
EMPTY = KillFile(reason="the file of the kill switch does not say")


def read_kill_file(folder: Path) -> KillFile | None:
    """What the file says; None where there is none. What cannot be read is on."""
    try:
        with (folder / KILL_FILE).open("rb") as file:
            content = file.read(MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError:
        return UNREADABLE
    try:
        return KillFile.model_validate_json(content)
    except ValidationError:
        return EMPTY


def write_kill_file(folder: Path, content: KillFile) -> None:
    """Turns it on, or says other things of it, at once and for good: it is there after a loss of power.

    Everybody may read it, for who halts and who serves need not be the same user.

    Raises:
        ServingError: It cannot be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{KILL_FILE}-", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(content.model_dump_json().encode())
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(temporary).replace(folder / KILL_FILE)
        _sync(folder)
    except OSError as error:
        raise ServingError(
            f"the kill switch cannot be written: {error.strerror}", where=str(folder), hint=HOW
        ) from None


def remove_kill_file(folder: Path) -> bool:
    """Turns it off. False where it was off.

    Raises:
        ServingError: It cannot be removed.
    """
    try:
        (folder / KILL_FILE).unlink()
        _sync(folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ServingError(
            f"the kill switch cannot be removed: {error.strerror}", where=str(folder / KILL_FILE)
        ) from None
    return True


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
