"""Following the store, which other hosts may share: what they change is in force here soon after."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from steersman.serving.rollout.archive import Archive
from steersman.serving.rollout.errors import StoreError
from steersman.serving.rollout.journal import Mark, Stored
from steersman.serving.supervising.director import Director

POLL_S = 1.0
"""Seconds between two looks. A change is to be seen within two seconds; a look is one small query."""
log = logging.getLogger(__name__)


class Follower:
    """Looks at the store again and again. A store that is away or slow holds nothing else up.

    Args:
        director: Owns the plan.
        archive: The way to the store.
    """

    def __init__(self, director: Director, archive: Archive) -> None:
        self._director = director
        self._archive = archive

    async def run(self) -> None:
        """Looks, until cancelled. What goes wrong is logged; what is in force stays."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.tick()
            except Exception:
                log.exception("defect while following the store")

    async def tick(self) -> None:
        """One look: takes over what another host has changed."""
        if self._archive.empty:
            return
        try:
            if self._differs(await self._archive.use(lambda store: store.marks())):
                await self._director.deploy(self._read)
        except StoreError:
            return  # the archive has said so

    def _differs(self, marks: Mapping[str, Mark]) -> bool:
        states = self._director.states
        return any(policy not in states or Mark.of(states[policy]) != mark for policy, mark in marks.items())

    async def _read(self) -> dict[str, Stored]:
        return await self._archive.use(lambda store: store.states())
