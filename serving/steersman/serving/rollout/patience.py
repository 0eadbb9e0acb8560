"""Blocking work that is waited for so long and no longer, whatever it hangs on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
MOST_AT_ONCE = 8
"""Works at a time. Those that nobody waits for any more count, too, so that they cannot pile up."""


class Patience:
    """Runs works on threads of their own, for which neither the event loop nor the end of the process waits.

    An executor would not do: its threads are waited for at the end, and a few that hang keep out all else.

    Args:
        most_s: Seconds that a work may take.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._running = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """What `work` gives, or what it raises.

        Raises:
            TimeoutError: It takes too long, or too many others do. What it does it may still do, later.
        """
        if self._running >= MOST_AT_ONCE:
            raise TimeoutError
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()

        def finish(result: Result | None, error: BaseException | None) -> None:
            self._running -= 1
            if done.done():  # nobody waits any more
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001  it is raised where it is waited for
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(finish, result, error)

        self._running += 1
        threading.Thread(target=run, name="store", daemon=True).start()
        async with asyncio.timeout(self._most_s):
            return await done
