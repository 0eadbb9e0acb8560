"""The store of deployments: what is in force, and the history of what was changed.

SQLite in the state folder, or any database that SQLAlchemy has a URL for, which hosts then share. A change is
one transaction that names the revision it was made from, so of two at once one fails. Imported where a store
is needed, off the event loop, for SQLAlchemy takes a while to import. Everything here blocks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from steersman.bundle.errors import SteersmanError
from steersman.serving.rollout.database import explained, lost_race, open_engine, sqlite_url
from steersman.serving.rollout.deployment import parse_deployment
from steersman.serving.rollout.errors import RevisionConflictError, StoreError
from steersman.serving.rollout.journal import Change, Entry, Mark, Stored
from steersman.serving.rollout.overrides_store import CommandStore
from steersman.serving.rollout.schema import bring_up_to_date
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.rollout.tables import deployments, history

__all__ = ["Store", "sqlite_url"]


class Store:
    """A store that is there and up to date.

    Args:
        url: SQLAlchemy's URL.

    Attributes:
        commands: Overrides, leases and the kill switch in it.

    Raises:
        UsageError: The URL is not one, or its driver is not installed.
        StoreError: The database cannot be used now, or was written by a later release.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self.commands = CommandStore(self._engine)
        try:
            with explained():
                bring_up_to_date(self._engine)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Ends the connections that are kept. The store may be used again, with others."""
        self._engine.dispose()

    def states(self) -> dict[str, Stored]:
        """The deployments in force, by policy.

        Raises:
            StoreError: The store cannot be read, or holds what this release does not understand.
        """
        with explained(), self._engine.connect() as connection:
            rows = connection.execute(sa.select(deployments)).mappings().all()
        return {row["policy"]: Stored(_state(row), row["seed_digest"], row["cut_revision"]) for row in rows}

    def marks(self) -> dict[str, Mark]:
        """The marks of the deployments in force, by policy: cheap to read, to see whether any has changed.

        Raises:
            StoreError: The store cannot be read.
        """
        query = sa.select(*(deployments.c[name] for name in ("policy", "revision", "rollout_id", "epoch")))
        with explained(), self._engine.connect() as connection:
            return {policy: Mark(*mark) for policy, *mark in connection.execute(query)}

    def save(self, change: Change, seed_digest: str | None = None) -> None:
        """Makes a change, and writes it to the history.

        Args:
            change: The change; the revision of its state is one above the one it was made from.
            seed_digest: Digest of the file that it comes from; None keeps what was known.

        Raises:
            RevisionConflictError: Somebody else made that revision.
            StoreError: The store cannot be written.
        """
        with explained():
            try:
                with self._engine.begin() as connection:
                    _write(connection, change, seed_digest)
            except DBAPIError as error:
                if lost_race(error):
                    raise _conflict(change.state) from None
                raise

    def note_seed(self, policy: str, seed_digest: str) -> None:
        """Remembers a file that says what is in force already.

        Raises:
            StoreError: The store cannot be written.
        """
        change = sa.update(deployments).where(deployments.c.policy == policy)
        with explained(), self._engine.begin() as connection:
            connection.execute(change.values(seed_digest=seed_digest))

    def entries(self, policy: str = "", *, limit: int = 50, before_id: int = 0) -> list[Entry]:
        """The history, newest first.

        Args:
            policy: Only of this policy; empty for all.
            limit: Most entries.
            before_id: Only entries before this one; 0 for the newest.

        Raises:
            StoreError: The store cannot be read.
        """
        query = sa.select(history).order_by(history.c.id.desc()).limit(limit)
        if policy:
            query = query.where(history.c.policy == policy)
        if before_id:
            query = query.where(history.c.id < before_id)
        with explained(), self._engine.connect() as connection:
            return [_entry(row) for row in connection.execute(query).mappings()]

    def entry(self, policy: str, revision: int) -> Entry | None:
        """The change that made this revision; None where there is none.

        Raises:
            StoreError: The store cannot be read.
        """
        query = sa.select(history).where(history.c.policy == policy, history.c.revision == revision)
        with explained(), self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _entry(row)


def _write(connection: sa.Connection, change: Change, seed_digest: str | None) -> None:
    state = change.state
    values: dict[str, Any] = {
        "revision": state.revision,
        "rollout_id": state.rollout_id,
        "epoch": state.epoch,
        "document": state.document,
    }
    known: dict[str, Any] = {} if seed_digest is None else {"seed_digest": seed_digest}
    if change.cuts:
        known["cut_revision"] = state.revision
    if state.revision == 1:
        row = {"policy": state.policy, "seed_digest": "", **values, **known}
        connection.execute(sa.insert(deployments).values(row))
    else:
        update = sa.update(deployments).where(
            deployments.c.policy == state.policy, deployments.c.revision == state.revision - 1
        )
        if connection.execute(update.values({**values, **known})).rowcount != 1:
            raise _conflict(state)
    made = {
        "policy": state.policy,
        "at_unix_nanos": change.at_unix_nanos,
        "actor": change.actor,
        "action": change.action,
        "reason": change.reason,
        "changes": json.dumps(change.lines, ensure_ascii=False),
    }
    connection.execute(sa.insert(history).values({**values, **made}))


def _conflict(state: DeploymentState) -> RevisionConflictError:
    return RevisionConflictError(
        f"policy {state.policy!r} was changed meanwhile: there is a revision {state.revision} already",
        hint="Look at it again, then repeat the change.",
    )


def _state(row: Mapping[Any, Any]) -> DeploymentState:
    try:
        document = parse_deployment(row["document"], where=f"stored deployment of {row['policy']}")
    except SteersmanError as error:
        raise StoreError(str(error), hint="Start the release that wrote it, or a later one.") from None
    return DeploymentState(
        deployment=document,
        revision=row["revision"],
        rollout_id=row["rollout_id"],
        epoch=row["epoch"],
    )


def _entry(row: Mapping[Any, Any]) -> Entry:
    return Entry(**{**row, "revision": row["revision"] or 0, "changes": tuple(json.loads(row["changes"]))})
