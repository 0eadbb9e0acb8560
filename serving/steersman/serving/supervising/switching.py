"""The kill switch of a host: its file, and what is held in memory while the file cannot be written."""

from __future__ import annotations

import logging
from pathlib import Path

from steersman.serving.errors import ServingError
from steersman.serving.kill_file import KillFile, read_kill_file, remove_kill_file, write_kill_file

log = logging.getLogger(__name__)


class HostSwitch:
    """On while there is the file, or while it could not be written.

    Args:
        folder: The state folder.
        file: What the file said last; None where it was off.

    Attributes:
        file: What it says; None while it is off.
    """

    def __init__(self, folder: Path, file: KillFile | None) -> None:
        self.file = file
        self._folder = folder
        self._held: KillFile | None = None

    def look(self) -> bool:
        """Reads the file. Whether somebody has changed it."""
        found = read_kill_file(self._folder) or self._held
        if found == self.file:
            return False
        self._switched(found)
        return True

    def turn_on(self, file: KillFile) -> None:
        """Writes the file. Where that fails, it is on all the same for as long as this process lives."""
        self._held = file
        try:
            write_kill_file(self._folder, file)
            self._held = None
        except ServingError as error:
            log.error("the kill switch is on, but not kept", extra={"why": str(error)})  # noqa: TRY400
        self._switched(file)

    def turn_off(self) -> None:
        """Removes the file.

        Raises:
            ServingError: It cannot be removed; it stays on.
        """
        remove_kill_file(self._folder)
        self._held = None
        self._switched(None)

    def _switched(self, file: KillFile | None) -> None:
        if file is not None and self.file is None:
            said = {"actor": file.actor, "why": file.reason}
            log.error("THE KILL SWITCH IS ON: no policy answers, fallback chains do", extra=said)
        if file is None and self.file is not None:
            log.warning("the kill switch is off: policies answer again")
        self.file = file
