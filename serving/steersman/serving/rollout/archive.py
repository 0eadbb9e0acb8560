"""The way to the store from the event loop: opened when it is first needed, on a thread, and tried again."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from steersman.serving.clock import Clock, utc_now
from steersman.serving.rollout.errors import StoreError
from steersman.serving.rollout.patience import Patience

if TYPE_CHECKING:
    from steersman.serving.rollout.store import Store

STORE_FILE = "store.db"
MOST_S = 15.0
"""Seconds that a use of the store may take: more than what has an end of its own, such as connecting."""
Result = TypeVar("Result")
log = logging.getLogger(__name__)


class Archive:
    """A store that need not be there.

    Args:
        url: SQLAlchemy's URL; empty for a SQLite file in `folder`.
        folder: The state folder.
        clock: What time it is.
        most_s: Seconds that a use may take.

    Attributes:
        away_since: Since when the store could not be used, UTC; None where the last use went well.
    """

    def __init__(self, url: str, folder: Path, clock: Clock = utc_now, most_s: float = MOST_S) -> None:
        self.away_since: datetime | None = None
        self._url = url
        self._file = folder / STORE_FILE
        self._clock = clock
        self._patience = Patience(most_s)
        self._lock = threading.Lock()
        self._store: Store | None = None

    @property
    def empty(self) -> bool:
        """Whether it is known, without opening it, that nothing was ever stored."""
        return not self._url and self._store is None and not self._file.exists()

    async def use(self, work: Callable[[Store], Result]) -> Result:
        """What `work` makes of the store, on a thread. Whether the store is away is noted and logged.

        Raises:
            UsageError: The URL is not one, or its driver is not installed.
            StoreError: The store cannot be used now, or does not answer in time; what was to be written may
                then be written all the same.
        """
        try:
            result = await self._patience.run(lambda: self._used(work))
        except StoreError as error:
            self._note_away(error)
            raise
        except TimeoutError:
            silent = StoreError("the store does not answer", where="store")
            self._note_away(silent)
            raise silent from None
        self._note_back()
        return result

    async def close(self) -> None:
        """Ends the connections that are kept. The archive may be used again."""
        if (store := self._store) is not None:
            with contextlib.suppress(TimeoutError):
                await self._patience.run(lambda: self._forget(store))

    def _used(self, work: Callable[[Store], Result]) -> Result:
        store = self._open()
        try:
            return work(store)
        except StoreError:
            # Opened anew next time: what comes back may be a backup, with tables of another release or none.
            self._forget(store)
            raise

    def _open(self) -> Store:
        # SQLAlchemy takes longer to import than the rest of the supervisor: only who stores anything pays.
        from steersman.serving.rollout.store import Store, sqlite_url  # noqa: PLC0415

        with self._lock:
            if self._store is None:
                self._store = Store(self._url or sqlite_url(self._file))
            return self._store

    def _forget(self, store: Store) -> None:
        with self._lock:
            if self._store is store:
                self._store = None
        store.close()

    def _note_away(self, error: StoreError) -> None:
        if self.away_since is None:
            self.away_since = self._clock()
            log.error(
                "THE STORE CANNOT BE USED: what is in force goes on being served; changes have to wait",
                extra={"why": str(error)},
            )

    def _note_back(self) -> None:
        if self.away_since is not None:
            gone_s = round((self._clock() - self.away_since).total_seconds(), 1)
            log.info("the store is back", extra={"away_s": gone_s})
        self.away_since = None
