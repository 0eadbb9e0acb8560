"""PostgreSQL as the store that hosts share: its driver, and how long anything may wait for it.

A host that is gone, a network that swallows packets, a lock that nobody releases: each ends in an error
within seconds, because a server goes on without its store and tries again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from steersman.bundle.errors import UsageError

NAMES = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
DRIVER = "postgresql+psycopg"
CONNECT_S = 3
"""Seconds that a connection may take, for each host that the URL names (libpq's `connect_timeout`)."""
STATEMENT_S = 5.0
IDLE_S = 10.0
"""A host that dies in a change keeps its locks for so long at most, and not for as long as TCP keeps it."""
RECYCLE_S = 600
"""Seconds after which a connection is made anew, so that servers follow where a name points now."""
LIBPQ: Mapping[str, object] = {
    "application_name": "steersman",
    "connect_timeout": CONNECT_S,
    # A peer that vanished is noticed in some ten seconds, in milliseconds and seconds as libpq has them.
    "tcp_user_timeout": 5000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    # Statements are prepared for a session; poolers such as PgBouncer give each transaction another one.
    "prepare_threshold": None,
}
"""What a connection is made with where the URL says nothing else."""
_MIGRATING = 0x5354_4545_5253_4D41
"""Key of the lock that one server at a time holds while it makes or migrates tables: "STEERSMA"."""


def is_meant(url: sa.URL) -> bool:
    """Whether the URL is PostgreSQL's, without a driver of its own choice."""
    return url.drivername in NAMES


def open_engine(url: sa.URL, locked_s: float) -> sa.Engine:
    """The way to a PostgreSQL database. Nothing is connected yet.

    One connection is kept, for servers look every second; each use asks first whether it still lives.

    Args:
        url: Its URL; what it says of libpq's parameters outranks what is set here.
        locked_s: Seconds that a change waits for another one.

    Raises:
        UsageError: The driver is not installed.
    """
    given = {name: value for name, value in LIBPQ.items() if name not in url.query}
    try:
        engine = sa.create_engine(
            url.set(drivername=DRIVER),
            pool_size=1,
            max_overflow=7,
            pool_timeout=CONNECT_S,
            pool_pre_ping=True,
            pool_recycle=RECYCLE_S,
            hide_parameters=True,
            connect_args=given,
        )
    except ImportError:
        raise UsageError(
            "the driver for PostgreSQL is not installed",
            where="store",
            expected="psycopg 3",
            hint="pip install 'steersman[postgres]'",
        ) from None
    limits = _limits(locked_s)

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # For the transaction, not the session: a pooler may give the session to others.
        connection.execute(limits)

    return engine


def _limits(locked_s: float) -> sa.Executable:
    limits = {
        "lock_timeout": locked_s,
        "statement_timeout": STATEMENT_S,
        "idle_in_transaction_session_timeout": IDLE_S,
    }
    here = sa.true()  # for the transaction only
    return sa.select(
        *(sa.func.set_config(name, f"{round(1000 * seconds)}ms", here) for name, seconds in limits.items())
    )


def hold_migrations(connection: Any) -> None:
    """Waits until no other server makes or migrates tables; for the rest of the transaction."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATING)))
