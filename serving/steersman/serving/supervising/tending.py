"""Work that must go on for as long as the server does, whatever it meets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

PAUSE_S = 1.0
log = logging.getLogger(__name__)


async def keep_going(what: str, work: Callable[[], Awaitable[None]], pause_s: float = PAUSE_S) -> None:
    """Does work that has no end, and begins it again, with an error in the log, when it ends all the same.

    To end the server would be louder. But the workers answer calls without such help, and a defect in what
    looks after them must not cost what they do well.

    Args:
        what: The work in words, for the log.
        work: Begins it.
        pause_s: Seconds before it is begun again, so that what fails at once does not fill the log.
    """
    while True:
        try:
            await work()
            log.error("ended; beginning again", extra={"what": what})
        except Exception:
            log.exception("defect; beginning again", extra={"what": what})
        await asyncio.sleep(pause_s)
