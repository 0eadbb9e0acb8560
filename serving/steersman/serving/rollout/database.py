"""The database of deployments: opening it, bringing its tables up to date, its errors in our words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from steersman.bundle.errors import UsageError, brief
from steersman.serving.rollout.errors import StoreError
from steersman.serving.rollout.tables import REVISION, deployments, metadata

MIGRATIONS = Path(__file__).parent / "migrations"
LOCKED_S = 2.0
"""Seconds that a change waits for another process that is writing."""


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return sa.URL.create("sqlite", database=str(path.absolute())).render_as_string()


def open_engine(url: str) -> sa.Engine:
    """The way to a database. Nothing is connected yet.

    Raises:
        UsageError: The URL is not one, or its driver is not installed.
    """
    try:
        parsed = make_url(url)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        # A connection for each use: changes are rare, and one that was kept would outlive a file or a server.
        engine = sa.create_engine(
            parsed, poolclass=NullPool, connect_args={"timeout": LOCKED_S} if is_sqlite else {}
        )
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise UsageError(
            f"not a database that can be used here: {brief(error)}",
            where="store",
            expected="a URL of SQLAlchemy whose driver is installed, such as sqlite:////var/lib/steersman/store.db",
        ) from None
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    """Readers never wait for a writer (WAL), and what was committed survives a loss of power (FULL)."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def bring_up_to_date(engine: sa.Engine) -> None:
    """Makes the tables, or migrates those of an earlier release.

    Raises:
        StoreError: They are of a later release.
    """
    with engine.begin() as connection:
        found = _found_revision(connection)
        if found == REVISION:
            return
        if found is None and not sa.inspect(connection).has_table(deployments.name):
            _create(connection)
            return
        _migrate(connection, found)


def _found_revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _create(connection: sa.Connection) -> None:
    """New tables, marked as Alembic would, without importing it."""
    metadata.create_all(connection)
    connection.execute(
        sa.text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    )
    connection.execute(sa.text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": REVISION})


def _migrate(connection: sa.Connection, found: str | None) -> None:
    from alembic import command  # noqa: PLC0415  see the module
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise StoreError(
            f"the store is of schema {found!r}, which this release does not know",
            where="store",
            expected=f"{REVISION} or an earlier one",
            hint="Start the release that wrote it, or a later one.",
        ) from None


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Errors of the database in our words. Parameters and URLs stay out of them: they hold passwords."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise StoreError(
            f"the store cannot be used: {type(cause).__name__}: {brief(cause)}",
            where="store",
            hint="What is in force goes on being served; changes have to wait.",
        ) from error
    except OSError as error:
        raise StoreError(f"the store cannot be used: {error.strerror}", where="store") from error
