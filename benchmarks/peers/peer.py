"""What the benchmark knows of a peer: its packages, how it is started, and what it speaks."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.wire import Wire

HERE = Path(__file__).parent
APPS = HERE / "apps"
PROTOS = HERE.parents[1] / "protos"
MODEL_VARIABLE = "STEERSMAN_PEER_MODEL"
"""As in `apps/policy.py`, which cannot be imported here, nor import this."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one start of a peer happens.

    Attributes:
        venv: Its virtual environment.
        folder: An empty folder for its files.
        name: Of the policy.
        features: Number of observation features.
        actions: Number of actions.
        port: Free, for the calls.
        other_port: Free, for whatever else it insists on.
    """

    venv: Path
    folder: Path
    name: str
    features: int
    actions: int
    port: int
    other_port: int

    @property
    def python(self) -> str:
        """The interpreter of the environment."""
        return self.command("python")

    def command(self, name: str) -> str:
        """A command that is installed in the environment."""
        return str(self.venv / "bin" / name)


@dataclass(frozen=True, slots=True)
class Launch:
    """How it is started.

    Attributes:
        command: Program and arguments.
        environment: Variables beside the usual ones; they win.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Peer:
    """A model server that is compared.

    Attributes:
        name: As the tables call it.
        package: The package whose version is told.
        lock: File in `locks` with every package of its environment, pinned.
        wire: What it speaks.
        setting: How it is set up, in a few words, for the reader of the table.
        launch: Writes its files and says how it is started.
        start_s: Seconds until it must answer.
    """

    name: str
    package: str
    lock: str
    wire: Wire
    setting: str
    launch: Callable[[Place], Launch]
    start_s: float = 60.0

    @property
    def lock_file(self) -> Path:
        """Its pinned packages."""
        return HERE / "locks" / self.lock

    @property
    def version(self) -> str:
        """Version of its package, as pinned."""
        for line in self.lock_file.read_text().splitlines():
            name, _, version = line.partition("==")
            if name == self.package:
                return version
        return "?"


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
