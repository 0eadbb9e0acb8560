"""What people have ordered in place of policies: kept, followed, and told to the workers.

Level-triggered: `look` puts together what is ordered now, from the kill switch's file, the overrides that
are known, the deployments' leases and the time, and tells the workers if it is another list. `follow` learns
from the store what other hosts know. A store that is away takes nothing out of force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from steersman.safety.commands import MOST_OVERRIDES, CommandList, KillSwitch, Override
from steersman.serving.clock import Clock, unix_nanos
from steersman.serving.errors import ServingError
from steersman.serving.kill_file import KillFile
from steersman.serving.messages import BreakerChanged
from steersman.serving.rollout.archive import Archive
from steersman.serving.rollout.errors import ChangeRefusedError, StoreError
from steersman.serving.rollout.noted import Note, StoredCommands
from steersman.serving.supervising.kept_commands import KeptCommands, load_commands, save_commands
from steersman.serving.supervising.leasing import Asked, Leases
from steersman.serving.supervising.switching import HostSwitch

LOOK_S = 0.25
"""Seconds between two looks at the kill switch's file; half a second is promised."""
FOLLOW_S = 1.0
"""Seconds between two looks at the store."""
SHARE_S = 2.0
"""Longest wait for the store before the answer to who turned the kill switch on."""
MOST_UNWRITTEN = 100
"""Notes for the history that are remembered while the store is away."""
Result = TypeVar("Result")
log = logging.getLogger(__name__)


class Commander:  # cap: class-lines, one lock is around all that is ordered
    """Owns what is ordered. Its methods run on one event loop.

    Args:
        folder: The state folder.
        archive: The way to the store.
        clock: What time it is.
        asked: Gives the leases that the deployments in force ask for.

    Attributes:
        current: What is ordered now, as the workers were told.
        overrides: Overrides by id, of which some may be over.
        leases: The leases.
    """

    def __init__(self, folder: Path, archive: Archive, clock: Clock, asked: Callable[[], Asked]) -> None:
        kept = load_commands(folder)
        self.current = CommandList()
        self.overrides: dict[str, Override] = {override.id: override for override in kept.overrides}
        self.leases = Leases(kept.leases)
        self._folder = folder
        self._archive = archive
        self._clock = clock
        self._asked = asked
        self._tell: Callable[[CommandList], None] = lambda _: None
        self._kept = kept
        self._switch = HostSwitch(folder, kept.kill_file)
        self._seen_halt = kept.seen_halt
        self._unwritten: list[Note] = []
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def now(self) -> int:
        """The time, Unix nanoseconds."""
        return unix_nanos(self._clock())

    async def begin(self) -> CommandList:
        """What the workers are started with: as the store has it, or, without it, as it was last known."""
        await self.follow()
        self.look()
        return self.current

    def lead(self, tell: Callable[[CommandList], None]) -> None:
        """Tells the workers from now on."""
        self._tell = tell

    async def run(self) -> None:
        """Looks, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    async def run_following(self) -> None:
        """Follows the store, until cancelled."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            await self.follow()

    def witness(self, worker: int, told: BreakerChanged) -> None:
        """Writes to the history that a breaker has changed, as soon as the store can be used."""
        line = f"breaker of version {told.version} in worker {worker}: {told.before} -> {told.after}"
        self._note(Note("breaker", "breaker", f"{told.cause}: {told.why}", (line,), self.now, told.policy))

    def look(self) -> None:
        """What is ordered now; another list than the last one is kept, and told to the workers."""
        now = self.now
        self._see()
        self.leases.follow(self._asked(), now)
        for override in [found for found in self.overrides.values() if found.expires_unix_nanos <= now]:
            del self.overrides[override.id]
            log.info("override is over", extra={"id": override.id, "policy": override.policy})
        listed = CommandList(
            number=self.current.number,
            kill_switch=None if self._switch.file is None else self._switch.file.kill_switch,
            overrides=tuple(sorted(self.overrides.values(), key=lambda found: found.set_unix_nanos)),
            leases=self.leases.listed,
        )
        if listed != self.current:
            self.current = listed.model_copy(update={"number": self.current.number + 1})
            self._tell(self.current)
        self._keep()

    async def follow(self) -> None:
        """Learns from the store; it being away changes nothing."""
        if self._archive.empty and not self._unwritten:
            return
        async with self._lock:
            try:
                self._learn(await self._archive.use(lambda store: store.commands.read()))
                await self._write_down()
            except StoreError:
                return  # the archive has said so
        self.look()

    async def set(self, override: Override, note: Note) -> None:
        """Puts an override in force, in place of the one for the same target.

        Raises:
            ChangeRefusedError: There are too many.
            StoreError: The store cannot be used; nothing was changed.
        """
        await self._to_its_end(self._set(override, note))

    async def clear(self, override: Override, note: Note) -> None:
        """Ends an override.

        Raises:
            StoreError: The store cannot be used; nothing was changed.
        """
        await self._to_its_end(self._clear(override, note))

    async def halt(self, kill_switch: KillSwitch, note: Note) -> bool:
        """Turns the kill switch on, here at once and without the store. One that is on stays as it is.

        Returns:
            Whether the store says it to other hosts.
        """
        if self._switch.file is None:
            self._switch.turn_on(KillFile(**kill_switch.model_dump()))
            self._unwritten.append(note)
            self.look()
        shares = asyncio.create_task(self._share())
        self._running.add(shares)
        shares.add_done_callback(self._running.discard)
        await asyncio.wait((shares,), timeout=SHARE_S)
        return self._switch.file is not None and self._switch.file.shared

    async def resume(self, note: Note) -> bool:
        """Turns the kill switch off, for all hosts that share the store.

        Returns:
            False where it was off.

        Raises:
            StoreError: Other hosts were told by the store, which cannot be used now; it stays on.
            ServingError: The file cannot be removed; it stays on.
        """
        return await self._to_its_end(self._resume(note))

    async def renew(self, policy: str, valid_s: float, actor: str) -> Mapping[str, int]:
        """Renews the lease of a policy, or with an empty name all. Here at once, elsewhere by the store.

        Returns:
            When the leases end, by policy.

        Raises:
            ChangeRefusedError: There is no such lease.
        """
        until = self.leases.renew(policy, valid_s, self.now)
        self.look()
        try:
            await self._archive.use(lambda store: store.commands.renew(until, actor))
        except StoreError:
            log.warning("other hosts do not know that a lease is renewed", extra={"policies": sorted(until)})
        return until

    async def _set(self, override: Override, note: Note) -> None:
        async with self._lock:
            others = {key: o for key, o in self.overrides.items() if o.target != override.target}
            if len(others) >= MOST_OVERRIDES:
                raise ChangeRefusedError(
                    "too_many_overrides",
                    f"{len(others)} overrides are in force",
                    expected=f"at most {MOST_OVERRIDES}",
                    hint="Clear those that are not needed.",
                )
            await self._archive.use(lambda store: store.commands.set(override, note))
            self.overrides = {**others, override.id: override}
        self.look()

    async def _clear(self, override: Override, note: Note) -> None:
        async with self._lock:
            await self._archive.use(lambda store: store.commands.clear(override.id, note))
            self.overrides.pop(override.id, None)
        self.look()

    async def _share(self) -> None:
        async with self._lock:
            file = self._switch.file
            if file is None or file.shared:
                return
            try:
                await self._archive.use(lambda store: store.commands.switch(file.kill_switch, self._taken()))
            except StoreError:
                log.warning("other hosts do not know of the kill switch: the store cannot be used")
                return
            self._unwritten.clear()
            self._seen_halt = file.at_unix_nanos
            if self._switch.file is file:
                self._switch.turn_on(file.model_copy(update={"shared": True}))
        self.look()

    async def _resume(self, note: Note) -> bool:
        async with self._lock:
            file = self._switch.file
            if file is None:
                return False
            self._unwritten.append(note)
            try:
                await self._archive.use(lambda store: store.commands.switch(None, self._taken()))
                self._unwritten.clear()
            except StoreError:
                if file.shared:
                    self._unwritten.remove(note)
                    raise
            self._switch.turn_off()
        self.look()
        return True

    def _see(self) -> None:
        """Takes note of what somebody has done to the kill switch's file."""
        if not self._switch.look():
            return
        file = self._switch.file
        if file is not None and not file.shared:
            lines = ("kill switch: on, by its file",)
            self._note(Note("halt", file.actor, file.reason, lines, self.now))
        elif file is None:
            self._note(Note("resume", "unknown", "", ("kill switch: off, its file is gone",), self.now))

    def _learn(self, stored: StoredCommands) -> None:
        """Takes over what the store says."""
        self.leases.learn(stored.leases)
        theirs = {override.id: override for override in stored.overrides}
        for override in theirs.values():
            if override.id not in self.overrides and override.expires_unix_nanos > self.now:
                log.info("override was set elsewhere", extra={"id": override.id, "policy": override.policy})
        self.overrides = theirs
        on = stored.kill_switch
        if on is not None and on.at_unix_nanos != self._seen_halt:
            self._seen_halt = on.at_unix_nanos
            if self._switch.file is None:
                self._switch.turn_on(KillFile(**on.model_dump(), shared=True))
        if on is None and self._switch.file is not None and self._switch.file.shared:
            self._switch.turn_off()

    async def _write_down(self) -> None:
        """Writes to the store what could not be written before. The lock is held."""
        if notes := self._taken():
            await self._archive.use(lambda store: store.commands.note(notes))
            self._unwritten = [note for note in self._unwritten if note not in notes]
        if dropped := self.leases.dropped:
            await self._archive.use(lambda store: store.commands.forget_leases(dropped))

    def _taken(self) -> tuple[Note, ...]:
        return tuple(self._unwritten)

    def _note(self, note: Note) -> None:
        self._unwritten = [*self._unwritten, note][-MOST_UNWRITTEN:]

    def _keep(self) -> None:
        """Keeps what is known, if it is something else than was kept last."""
        kept = KeptCommands(
            overrides=self.current.overrides,
            leases=self.leases.until,
            kill_file=self._switch.file,
            seen_halt=self._seen_halt,
        )
        if kept == self._kept:
            return
        self._kept = kept
        try:
            save_commands(self._folder, kept)
        except ServingError as error:
            log.error("overrides and leases cannot be kept", extra={"why": str(error)})  # noqa: TRY400

    async def _to_its_end(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Work that goes on even where its caller no longer waits."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)
