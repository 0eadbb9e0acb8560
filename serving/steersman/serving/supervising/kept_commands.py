"""What people have ordered, as a file in the state folder, for a start without the store."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from steersman.bundle.errors import brief
from steersman.bundle.specs import Spec
from steersman.safety.commands import Override
from steersman.serving.kill_file import KillFile
from steersman.serving.state import write_atomically

COMMANDS_FILE = "commands.json"
log = logging.getLogger(__name__)


class KeptCommands(Spec):
    """What a host knew last.

    Attributes:
        overrides: Overrides.
        leases: Unix nanoseconds until which policies may answer, by policy.
        kill_file: What was in the kill switch's file; None where it was off.
        seen_halt: When the kill switch was last turned on for all hosts, as far as was acted on here: what
            somebody took back on this host does not come on again for the same reason.
    """

    overrides: tuple[Override, ...] = ()
    leases: Mapping[str, int] = {}
    kill_file: KillFile | None = None
    seen_halt: int = 0


def save_commands(folder: Path, kept: KeptCommands) -> None:
    """Keeps them.

    Raises:
        ServingError: The folder cannot be written.
    """
    write_atomically(folder / COMMANDS_FILE, kept.model_dump_json(indent=1).encode())


def load_commands(folder: Path) -> KeptCommands:
    """What an earlier run knew; nothing where there is no such file that this release understands."""
    try:
        return KeptCommands.model_validate_json((folder / COMMANDS_FILE).read_bytes())
    except FileNotFoundError:
        return KeptCommands()
    except (OSError, ValidationError) as error:
        log.error("the overrides of the last run cannot be read", extra={"why": brief(error)})  # noqa: TRY400
        return KeptCommands()
