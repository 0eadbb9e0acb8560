"""A worker as its supervisor sees it: a child process, a socket pair, and what it last said."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import Callable

from pydantic import ValidationError

from steersman.safety.commands import CommandList
from steersman.serving.errors import ServingError
from steersman.serving.messages import (
    MAX_LINE,
    TO_SUPERVISOR,
    Access,
    BreakerChanged,
    Drain,
    Failed,
    Obey,
    Obeyed,
    Ready,
    Route,
    Routed,
    Start,
    line,
)
from steersman.serving.rollout.snapshot import RoutingSnapshot
from steersman.serving.security.access import AccessList

log = logging.getLogger(__name__)


class WorkerProcess:
    """One life of one worker. A worker that ended is replaced by another object with the same slot."""

    def __init__(
        self,
        slot: int,
        on_routed: Callable[[int, Routed], None],
        on_obeyed: Callable[[], None] = lambda: None,
        on_breaker: Callable[[int, BreakerChanged], None] = lambda *_: None,
    ) -> None:
        self._on_breaker = on_breaker
        self.slot = slot
        self.started_at = time.monotonic()
        self.routed: Routed | None = None
        self.told = -1
        """Generation of the newest snapshot that was handed over."""
        self.ordered = -1
        """Number of the newest list of commands that was handed over."""
        self.obeyed = -1
        """Number of the list that it follows."""
        self.draining = False
        self._on_routed = on_routed
        self._on_obeyed = on_obeyed
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._answer: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._answer.add_done_callback(_noted)
        self._listener: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Process id; 0 before it was spawned."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def ready(self) -> bool:
        """Whether it answers calls."""
        return self.alive and self.routed is not None and not self.draining

    async def spawn(self, start: Start, timeout_s: float) -> None:
        """Starts the process and waits until it answers calls.

        Raises:
            ServingError: It could not start, or took longer than `timeout_s`.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "steersman.serving.worker", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_LINE)
        self._listener = asyncio.create_task(self._listen(reader))
        self._writer.write(line(start))
        self.told = start.snapshot.generation
        self.ordered = start.commands.number
        try:
            await asyncio.wait_for(asyncio.shield(self._answer), timeout_s)
        except TimeoutError:
            await self.kill()
            raise ServingError(f"worker {self.slot} was not ready within {timeout_s:g} s") from None

    def route(self, snapshot: RoutingSnapshot) -> None:
        """Hands over another snapshot; one that it was told before, or a later one, is left as it is."""
        if self.told < snapshot.generation and self._send(Route(snapshot=snapshot)):
            self.told = snapshot.generation

    def admit(self, access: AccessList) -> None:
        """Hands over who may call."""
        self._send(Access(access=access))

    def obey(self, commands: CommandList) -> None:
        """Hands over what people have ordered; what it was told before, or a later list, stays."""
        if self.ordered < commands.number and self._send(Obey(commands=commands)):
            self.ordered = commands.number

    async def drain(self, lame_duck_s: float, grace_s: float) -> int:
        """Ends the worker in good order, by force if that takes too long. Returns its exit status."""
        if self._process is None:
            return 0
        self.draining = True
        self._send(Drain(lame_duck_s=lame_duck_s, grace_s=grace_s))
        try:
            await asyncio.wait_for(self._process.wait(), lame_duck_s + grace_s + 5.0)
        except TimeoutError:
            log.warning("worker did not end in time", extra={"worker": self.slot})
            await self.kill()
        return await self.wait()

    async def kill(self) -> None:
        """Ends the worker at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self.wait()

    async def wait(self) -> int:
        """Waits until the process has ended. Returns its exit status."""
        status = await self._process.wait() if self._process else 0
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self._listener is not None:
            await self._listener
        return status

    def _send(self, message: Route | Access | Obey | Drain) -> bool:
        """Whether it could be said: not before the process has begun, and not once it has ended."""
        if self._writer is None or self._writer.is_closing() or self.told < 0:
            return False
        self._writer.write(line(message))
        return True

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            async for data in reader:
                try:
                    self._hear(TO_SUPERVISOR.validate_json(data))
                except ValidationError:
                    log.exception("worker said something unknown", extra={"worker": self.slot})
                except Exception:
                    log.exception("defect while hearing a worker", extra={"worker": self.slot})
        if not self._answer.done():
            self._answer.set_exception(ServingError(f"worker {self.slot} ended before it was ready"))

    def _hear(self, message: Ready | Routed | Obeyed | BreakerChanged | Failed) -> None:
        match message:
            case BreakerChanged():
                self._on_breaker(self.slot, message)
            case Ready(routed=routed):
                self._take(routed)
                if not self._answer.done():
                    self._answer.set_result(message)
            case Routed():
                self._take(message)
            case Obeyed(number=number):
                self.obeyed = number
                self._on_obeyed()
            case Failed(message=why):
                if not self._answer.done():
                    self._answer.set_exception(ServingError(why))
                elif self.alive:
                    log.error("worker failed; it ends by itself", extra={"worker": self.slot, "why": why})

    def _take(self, routed: Routed) -> None:
        self.routed = routed
        self._on_routed(self.slot, routed)


def _noted(answer: asyncio.Future[Ready]) -> None:
    """Takes note of a failure that nobody waits for any more, as at an end while starting."""
    if not answer.cancelled():
        answer.exception()
