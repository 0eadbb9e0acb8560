"""The `steersman` command in this process, against a toy server."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from grpc_health.v1.health import HealthServicer

from steersman.cli import main
from support.toy_server import Toy, toy_server


@dataclass
class Done:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, read."""
        return json.loads(self.out)

    @property
    def facts(self) -> dict[str, str]:
        """Name and value of each printed line."""
        pairs = (line.split("  ", 1) for line in self.out.splitlines() if "  " in line)
        return {name: value.strip() for name, value in pairs}


Steersman = Callable[..., Done]


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
def health() -> HealthServicer:
    return HealthServicer()


@pytest.fixture
def target(toy: Toy, health: HealthServicer) -> Iterator[str]:
    with toy_server(toy, health=health) as address:
        yield address


@pytest.fixture
def steersman(target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Steersman:
    """Runs `steersman WORDS`, with the toy server as its target."""
    monkeypatch.setenv("STEERSMAN_TARGET", target)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")  # which commands set for themselves; undone afterwards

    def run(*words: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["steersman", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return Done(int(end.value.code or 0), printed.out, printed.err)

    return run
