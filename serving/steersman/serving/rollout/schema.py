"""The tables of the store: made, or brought up to date, by one server at a time."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from steersman.serving.rollout import postgres
from steersman.serving.rollout.errors import StoreError
from steersman.serving.rollout.tables import REVISION, deployments, metadata

MIGRATIONS = Path(__file__).parent / "migrations"


def bring_up_to_date(engine: sa.Engine) -> None:
    """Makes the tables, or migrates those of an earlier release. Either all of it happens or nothing.

    Raises:
        StoreError: They are of a later release.
    """
    with engine.connect() as connection:
        if _found_revision(connection) == REVISION:
            return
    with engine.begin() as connection:
        _hold(connection)
        found = _found_revision(connection)
        if found == REVISION:  # another server was first
            return
        if found is None and not sa.inspect(connection).has_table(deployments.name):
            _create(connection)
        else:
            migrate(connection, found)


def _hold(connection: sa.Connection) -> None:
    """Keeps the other servers, which start at the same time, from doing the same."""
    if connection.dialect.name == "postgresql":
        postgres.hold_migrations(connection)
    elif connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver begins only before rows are written


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


def migrate(connection: sa.Connection, found: str | None, to: str = "head") -> None:
    """Runs the migrations that the tables lack; imports Alembic, which takes a while.

    Args:
        connection: To the database.
        found: The migration that they are at; None for none.
        to: The migration to stop at.

    Raises:
        StoreError: They are of a later release.
    """
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, to)
    except CommandError:
        raise StoreError(
            f"the store is of schema {found!r}, which this release does not know",
            where="store",
            expected=f"{REVISION} or an earlier one",
            hint="Start the release that wrote it, or a later one.",
        ) from None
