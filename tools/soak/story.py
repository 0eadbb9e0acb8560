"""What happens in a soak: under load versions come and workers are killed, over and over; at last a drain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tools.soak.scene import POLICY, Footprint, Scene

from support.load import Answer, Load, Scraper, plain_load, scraping, steersman_load
from support.scrape import value

QUIET_S = 3.0
PLAIN_CALLERS = 2
SETTLED_S = 0.3
"""How much longer something is looked at that has happened."""


@dataclass(slots=True)
class Findings:
    """What was seen.

    Attributes:
        phases: When what went on, `time.monotonic`: name, beginning, end.
        answers: Of each kind of client.
        footprints: At the beginning, and when all was over.
        drained: Exit status and seconds of the drain.
        counted: Calls that the servers have answered.
        kills: Workers that were killed.
        versions: Versions that were served.
        broken: What did not hold.
    """

    phases: list[tuple[str, float, float]] = field(default_factory=list)
    answers: dict[str, Sequence[Answer]] = field(default_factory=dict)
    footprints: list[Footprint] = field(default_factory=list)
    drained: tuple[int, float] = (0, 0.0)
    counted: int = 0
    kills: int = 0
    versions: int = 0
    broken: list[str] = field(default_factory=list)

    def hold(self, what: str, *, holds: bool) -> None:
        """Notes what does not hold."""
        if not holds:
            self.broken.append(what)


class Story:
    """One soak.

    Args:
        scene: Where.
        callers: Threads of the Steersman client, which knows both replicas; plain clients call the first.
        kills: Whether workers are killed.
    """

    def __init__(self, scene: Scene, callers: int, *, kills: bool) -> None:
        self._scene = scene
        self._callers = callers
        self._kills = kills
        self._found = Findings()

    def run(self, seconds: float) -> Findings:
        """Everything, in about so long."""
        scene, found = self._scene, self._found
        with scene.playing():
            targets = [server.grpc for server in scene.servers]
            with (
                scraping(scene.servers[0].http) as first,
                scraping(scene.servers[1].http) as second,
                plain_load(targets[0], PLAIN_CALLERS, POLICY) as plain,
                steersman_load(targets, self._callers, POLICY) as load,
            ):
                load.wait_for(500)
                found.footprints.append(scene.footprint())
                self._turns(time.monotonic() + seconds)
                found.footprints.append(scene.footprint())
                plain.stop()
                counted_before_drain = first.look()
                self._phase("drain", self._drain)
                load.stop()
                found.answers = {"steersman": load.answers, "plain": plain.answers}
                self._judge(first, second, load, plain)
                found.counted = sum(
                    int(value(counted, "steersman_calls_total", method="Act", code="ok"))
                    for counted in (counted_before_drain, second.look())
                )
        self._reconcile()
        return found

    def _turns(self, end: float) -> None:
        turn = 0
        while time.monotonic() < end:
            self._scene.draft()
            self._phase("quiet", lambda: time.sleep(QUIET_S))
            self._phase("swap", self._swap)
            if self._kills and turn % 2:
                self._phase("kill", lambda: self._scene.kill(turn // 2 % 2))  # noqa: B023  called at once
                self._found.kills += 1
            turn += 1

    def _swap(self) -> None:
        self._scene.release()
        self._scene.until_served()
        self._found.versions = self._scene.newest

    def _drain(self) -> None:
        self._found.drained = self._scene.drain(0)

    def _phase(self, name: str, happen: Callable[[], None]) -> None:
        began = time.monotonic()
        happen()
        time.sleep(SETTLED_S)
        self._found.phases.append((name, began, time.monotonic()))

    def _judge(self, first: Scraper, second: Scraper, load: Load, plain: Load) -> None:
        hold = self._found.hold
        hold(f"the Steersman client lost calls: {load.codes()}", holds=not load.failures())
        lost = len(plain.failures())
        most = self._found.kills * PLAIN_CALLERS
        hold(f"plain clients lost {lost} calls; expected at most {most}", holds=lost <= most)
        for scraper in (first, second):
            hold(f"counters went back: {scraper.backward[:3]}", holds=not scraper.backward)
        hold(f"the drain ended with status {self._found.drained[0]}", holds=self._found.drained[0] == 0)
        before, after = (footprint.files for footprint in self._found.footprints)
        hold(f"open files grew from {before} to {after}", holds=after < before + 100)
        for name in "ab":
            lines = self._scene.log(name).read_text().splitlines()
            defects = [line for line in lines if "defect" in line or "Traceback" in line]
            hold(f"defects in the log of {name}: {defects[:2]}", holds=not defects)

    def _reconcile(self) -> None:
        """Every call that was answered was counted once; of those that ended with a worker it is not sure."""
        found = self._found
        answered = sum(a.code == "OK" for answers in found.answers.values() for a in answers)
        drained = sum(a.code == "OK" for a in found.answers["steersman"] if a.began >= found.phases[-1][1])
        # What the first server answered while it drained cannot be read any more.
        unsure = (self._callers + PLAIN_CALLERS) * (found.kills + 1) + drained
        found.hold(
            f"clients had {answered} answers, servers counted {found.counted}",
            holds=abs(answered - found.counted) <= unsure,
        )
