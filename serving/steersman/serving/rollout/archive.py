"""The way to the store from the event loop: opened when it is first needed, on a thread, and tried again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from steersman.serving.rollout.store import Store

STORE_FILE = "store.db"
Result = TypeVar("Result")


class Archive:
    """A store that need not be there.

    Args:
        url: SQLAlchemy's URL; empty for a SQLite file in `folder`.
        folder: The state folder.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._file = folder / STORE_FILE
        self._lock = threading.Lock()
        self._store: Store | None = None

    @property
    def empty(self) -> bool:
        """Whether it is known, without opening it, that nothing was ever stored."""
        return not self._url and self._store is None and not self._file.exists()

    async def use(self, work: Callable[[Store], Result]) -> Result:
        """What `work` makes of the store, on a thread.

        Raises:
            UsageError: The URL is not one.
            StoreError: The store cannot be used now.
        """
        return await asyncio.to_thread(lambda: work(self._open()))

    def _open(self) -> Store:
        # SQLAlchemy takes longer to import than the rest of the supervisor: only who stores anything pays.
        from steersman.serving.rollout.store import Store, sqlite_url  # noqa: PLC0415

        with self._lock:
            if self._store is None:
                self._store = Store(self._url or sqlite_url(self._file))
            return self._store
