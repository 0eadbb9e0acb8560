"""The database of deployments: opening it, and its errors in our words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from steersman.bundle.errors import UsageError, brief
from steersman.serving.rollout import postgres
from steersman.serving.rollout.errors import StoreError

LOCKED_S = 2.0
"""Seconds that a change waits for another process that is writing."""
EXPECTED = (
    "a URL of SQLAlchemy whose driver is installed, such as postgresql://USER:PASSWORD@HOST/DATABASE or "
    "sqlite:////FOLDER/store.db"
)
ESCAPE = "In user and password write @ as %40, : as %3A, / as %2F and % as %25."
_LOST_RACE = {"40001", "40P01"}
"""SQLSTATE of a transaction that another one made impossible: serialization failure, deadlock."""


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return sa.URL.create("sqlite", database=str(path.absolute())).render_as_string()


def open_engine(url: str) -> sa.Engine:
    """The way to a database. Nothing is connected yet.

    Raises:
        UsageError: The URL is not one, or its driver is not installed. It shows nothing of the URL beyond
            the kind of database, for where a URL is wrong its password may be anywhere in it.
    """
    parsed = _parsed(url)
    try:
        if postgres.is_meant(parsed):
            return postgres.open_engine(parsed, LOCKED_S)
        engine = _open_other(parsed)
    except NoSuchModuleError:
        raise _unusable(f"SQLAlchemy knows no {parsed.drivername}") from None
    except ImportError as error:
        raise _unusable(f"its driver is not installed: {brief(error)}") from None
    except (ArgumentError, TypeError, ValueError):  # what they say quotes the URL
        raise _unusable(f"it is no URL of {parsed.get_backend_name()}") from None
    if engine.dialect.is_async:
        raise _unusable(f"{parsed.drivername} is an asynchronous driver")
    return engine


def _parsed(url: str) -> sa.URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise _unusable("it is no URL", ESCAPE) from None
    is_file = parsed.get_backend_name() == "sqlite"
    if not is_file and url.count("@") > 1:
        raise _unusable("it has more than one @", ESCAPE)
    return parsed


def _open_other(url: sa.URL) -> sa.Engine:
    """A connection for each use: changes are rare, and one that was kept would outlive a file."""
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, poolclass=NullPool, hide_parameters=True)
    engine = sa.create_engine(
        url, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": LOCKED_S}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _unusable(why: str, hint: str | None = None) -> UsageError:
    return UsageError(
        f"not a database that can be used here: {why}", where="store", expected=EXPECTED, hint=hint
    )


def _prepare_sqlite(connection: Any, _: object) -> None:
    """Readers never wait for a writer (WAL), and what was committed survives a loss of power (FULL)."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def lost_race(error: DBAPIError) -> bool:
    """Whether a change failed because another one was first."""
    return isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", None) in _LOST_RACE


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
