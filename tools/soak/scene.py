"""Two replicas of a small policy, and what one can do to them."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.policies import DEMO, publish

from steersman.serving.testing import RunningServer, running_server
from support.scrape import scrape, value, wait_until

WORKERS = 2
POLICY = DEMO.name
GRACE_S = 5.0
"""Seconds that a closed version stays loaded; short, so that memory can be seen to come back."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a server's processes hold, supervisor and workers together."""

    resident_bytes: int
    files: int


@dataclass(slots=True)
class Scene:
    """Where it happens.

    Attributes:
        folder: An empty folder.
        transport: Of both replicas.
        servers: The replicas, while `playing`.
        newest: Newest version that servers can see.
    """

    folder: Path
    transport: str
    servers: list[RunningServer] = field(default_factory=list)
    newest: int = 0

    @contextmanager
    def playing(self) -> Iterator[None]:
        """Starts the replicas, and ends them."""
        self.draft()
        self.release()
        arguments = ["--keyring", str(self.folder / "keyring.json"), "--transport", self.transport]
        arguments += ["--poll", "0.2", "--episode-grace", str(GRACE_S)]
        with ExitStack() as stack:
            self.servers = [
                stack.enter_context(
                    running_server(
                        self.folder / "bundles", workers=WORKERS, arguments=arguments, log=self.log(name)
                    )
                )
                for name in ("a", "b")
            ]
            yield

    def log(self, name: str) -> Path:
        """A replica's log."""
        return self.folder / f"{name}.log"

    def draft(self) -> None:
        """Makes the next version where no server looks; that takes a second of the machine."""
        publish(self.folder / "drafts", DEMO)

    def release(self) -> None:
        """Puts the next version where servers look, whole."""
        self.newest += 1
        drafted = self.folder / "drafts" / POLICY / str(self.newest)
        beside = self.folder / "bundles" / POLICY / f".{self.newest}"
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(drafted, beside)
        beside.rename(beside.with_name(str(self.newest)))

    def until_served(self) -> None:
        """Waits until every worker of both has the newest version."""
        wait_until(lambda: all(map(self._current, self.servers)), f"version {self.newest}", timeout_s=60.0)

    def kill(self, replica: int) -> None:
        """Ends one worker at once, and waits for its successor."""
        server = self.servers[replica]
        before = workers_of(server)
        os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: len(workers_of(server) - before) == 1, "the worker's successor", timeout_s=60.0)
        wait_until(lambda: self._current(server), "the successor's answers", timeout_s=60.0)

    def drain(self, replica: int) -> tuple[int, float]:
        """Ends a replica in good order. Its exit status, and the seconds that it took."""
        began = time.monotonic()
        self.servers[replica].process.send_signal(signal.SIGTERM)
        return self.servers[replica].process.wait(60), time.monotonic() - began

    def footprint(self) -> Footprint:
        """Of both replicas."""
        pids = [pid for s in self.servers for pid in (s.process.pid, *workers_of(s))]
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
        files = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
        return Footprint(pages * os.sysconf("SC_PAGE_SIZE"), files)

    def _current(self, server: RunningServer) -> bool:
        counted = scrape(server.http)
        share = value(
            counted, "steersman_lane_share_ratio", policy=POLICY, lane="stable", version=str(self.newest)
        )
        return value(counted, "steersman_workers_current") == WORKERS and share == 1.0


def workers_of(server: RunningServer) -> set[int]:
    """Process ids of a server's workers."""
    pid = server.process.pid
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
