"""The way to the store: opened when it is needed, given up when it does not answer, and found again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from pathlib import Path

import pytest

from steersman.serving.rollout.archive import Archive
from steersman.serving.rollout.database import open_engine
from steersman.serving.rollout.errors import StoreError
from steersman.serving.rollout.patience import MOST_AT_ONCE, Patience
from steersman.serving.rollout.store import Store
from support.postgres import Postgres


async def test_the_store_is_opened_when_it_is_needed(tmp_path: Path) -> None:
    archive = Archive("", tmp_path)
    assert archive.empty
    assert await archive.use(Store.marks) == {}
    assert not archive.empty
    assert not Archive("", tmp_path).empty


async def test_a_store_that_hangs_is_given_up_and_what_hangs_does_not_pile_up(tmp_path: Path) -> None:
    archive, freed, hung = Archive("", tmp_path, most_s=0.05), threading.Event(), threading.Semaphore(0)

    def hang(_: Store) -> None:
        hung.release()
        freed.wait(60)

    await until_answered(archive)
    for _ in range(MOST_AT_ONCE + 2):
        with pytest.raises(StoreError, match="does not answer"):
            await archive.use(hang)
    assert archive.away_since is not None
    assert all(hung.acquire(timeout=30) for _ in range(MOST_AT_ONCE))
    assert not hung.acquire(blocking=False)
    await archive.close()
    freed.set()
    await until_answered(archive)
    assert archive.away_since is None


async def until_answered(archive: Archive) -> None:
    """Uses the store until it is there, and those that hung have ended."""
    while True:
        with contextlib.suppress(StoreError):
            await archive.use(Store.marks)
            return
        await asyncio.sleep(0)


async def test_what_a_work_raises_is_raised_where_it_is_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        await Patience(60.0).run(lambda: 1 // 0)


async def test_it_is_said_once_that_its_store_is_away_and_that_it_is_back(
    postgres: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    archive = Archive(postgres.new_database(), tmp_path)
    assert await archive.use(Store.marks) == {}
    postgres.stop()
    try:
        for _ in range(2):
            with pytest.raises(StoreError):
                await archive.use(Store.marks)
        assert archive.away_since is not None
    finally:
        postgres.start()
    assert await archive.use(Store.marks) == {}
    assert archive.away_since is None
    await archive.close()
    heads = [message.partition(":")[0] for message in caplog.messages]
    assert heads == ["THE STORE CANNOT BE USED", "the store is back"]
    assert "hunter" not in caplog.text


async def test_a_store_that_was_replaced_by_an_empty_one_gets_its_tables(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.new_database()
    archive = Archive(url, tmp_path)
    await archive.use(Store.marks)
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE deployments, history, alembic_version")
    engine.dispose()
    with pytest.raises(StoreError):
        await archive.use(Store.marks)
    assert await archive.use(Store.marks) == {}
    await archive.close()
