"""Keeping the plan in step: looks at the workers and the repository again and again."""

from __future__ import annotations

import asyncio
import logging

from steersman.bundle.errors import SteersmanError
from steersman.serving.planning.plan import Plan
from steersman.serving.supervising.director import Director

IDLE_S = 3600.0
"""Longest time between two looks when nothing is polled."""
log = logging.getLogger(__name__)


class Keeper:
    """Tells the director when to look.

    Args:
        director: Owns the plan.
        poll_s: Seconds between two looks at the repository; 0 for none.
    """

    def __init__(self, director: Director, poll_s: float) -> None:
        self._director = director
        self._poll_s = poll_s

    async def run(self) -> None:
        """Looks, until cancelled. What goes wrong is logged; what is in force stays."""
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            await self._director.news(self._wait_s())
            due = bool(self._poll_s) and loop.time() - looked >= self._poll_s
            try:
                await self._director.review()
                if due:
                    looked = loop.time()
                    await self.tick()
            except Exception:
                log.exception("defect while keeping the plan in step")

    async def tick(self) -> None:
        """One look at the repository."""
        try:
            await self._director.refresh()
        except SteersmanError as error:
            log.error("the repository cannot be read", extra={"why": str(error)})  # noqa: TRY400

    async def refresh(self) -> list[str]:
        """Reads the repository now, and tries again what workers could not load. Returns what is new."""
        before = self._director.plan
        await self._director.refresh(forgive=True)
        return differences(before, self._director.plan)

    async def settle_first(self, timeout_s: float) -> None:
        """After the workers have started: what they could not load is planned otherwise."""
        director = self._director
        while await director.review():
            if not await director.fleet.settled(director.plan.generation, timeout_s):
                return

    def _wait_s(self) -> float:
        wait_s = self._poll_s or IDLE_S
        end = self._director.next_end()
        if end is not None:
            left_s = (end - self._director.planner.clock()).total_seconds()
            wait_s = min(wait_s, max(left_s, 0.0) + 0.01)
        return wait_s


def differences(before: Plan, after: Plan) -> list[str]:
    """What another plan changes, in lines for people."""
    old, new = _lanes(before), _lanes(after)
    lines = [
        f"{policy}: {lane}: version {old.get((policy, lane), 'none')} -> {new.get((policy, lane), 'none')}"
        for policy, lane in sorted({*old, *new})
        if old.get((policy, lane)) != new.get((policy, lane))
    ]
    news = [problem for problem in after.problems if problem not in before.problems]
    return [*lines, *(f"{problem.policy}: {problem}" for problem in news)]


def _lanes(plan: Plan) -> dict[tuple[str, str], str]:
    """Versions by policy and lane; several where versions drain or are pinned."""
    found: dict[tuple[str, str], list[int]] = {}
    for lane in plan.lanes:
        name = "draining" if lane.route.role == "draining" else lane.route.lane
        found.setdefault((lane.policy, name), []).append(lane.route.version)
    return {key: ", ".join(map(str, versions)) for key, versions in found.items()}
