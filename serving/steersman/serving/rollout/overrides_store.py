"""Overrides, leases and the kill switch in the store, and what the history says of them. It blocks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from steersman.safety.commands import KillSwitch, Override
from steersman.serving.rollout.database import explained, lost_race
from steersman.serving.rollout.errors import RevisionConflictError, StoreError
from steersman.serving.rollout.noted import Note, StoredCommands
from steersman.serving.rollout.tables import history, leases, overrides, switches

KILL = "kill"


class CommandStore:
    """The tables of what people have ordered in place of policies.

    Args:
        engine: The way to the database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def read(self) -> StoredCommands:
        """All of it.

        Raises:
            StoreError: The store cannot be read, or holds what this release does not understand.
        """
        kill = sa.select(switches.c.document).where(switches.c.name == KILL)
        with explained(), self._engine.connect() as connection:
            documents = connection.execute(sa.select(overrides.c.document)).scalars().all()
            until = _until(connection)
            switch = connection.execute(kill).scalar()
        try:
            return StoredCommands(
                tuple(map(Override.model_validate_json, documents)),
                until,
                None if switch is None else KillSwitch.model_validate_json(switch),
            )
        except ValidationError:
            raise StoreError(
                "an override that is stored cannot be read",
                where="store",
                hint="Start the release that wrote it, or a later one.",
            ) from None

    def set(self, override: Override, note: Note) -> None:
        """Keeps an override, in place of the one for its target; those that are over are forgotten.

        Raises:
            RevisionConflictError: Somebody else set one for this target at the same moment.
            StoreError: The store cannot be written.
        """
        row = override.model_dump(include={"id", "policy", "lane", "episode_id", "expires_unix_nanos"})
        columns = (overrides.c.policy, overrides.c.lane, overrides.c.episode_id)
        same = sa.and_(*(column == said for column, said in zip(columns, override.target, strict=True)))
        over = overrides.c.expires_unix_nanos <= override.set_unix_nanos
        try:
            with explained(), self._engine.begin() as connection:
                connection.execute(sa.delete(overrides).where(sa.or_(same, over)))
                connection.execute(
                    sa.insert(overrides).values(row | {"document": override.model_dump_json()})
                )
                _write(connection, (note,))
        except StoreError as error:
            if isinstance(error.__cause__, DBAPIError) and lost_race(error.__cause__):
                raise RevisionConflictError(
                    "somebody else set an override for the same at the same moment",
                    hint="Look at it, then try again.",
                ) from None
            raise

    def clear(self, override_id: str, note: Note) -> bool:
        """Ends an override. False where there is none of this id, which is not noted.

        Raises:
            StoreError: The store cannot be written.
        """
        with explained(), self._engine.begin() as connection:
            found = connection.execute(sa.delete(overrides).where(overrides.c.id == override_id)).rowcount
            if found:
                _write(connection, (note,))
        return bool(found)

    def switch(self, kill_switch: KillSwitch | None, notes: Iterable[Note]) -> None:
        """Turns the kill switch on for all hosts, or off with None.

        Raises:
            StoreError: The store cannot be written.
        """
        with explained(), self._engine.begin() as connection:
            connection.execute(sa.delete(switches).where(switches.c.name == KILL))
            if kill_switch is not None:
                row = {"name": KILL, "document": kill_switch.model_dump_json()}
                connection.execute(sa.insert(switches).values(row))
            _write(connection, notes)

    def renew(self, until: Mapping[str, int], actor: str) -> None:
        """Prolongs leases; one that lasts longer already stays.

        Args:
            until: Unix nanoseconds, by policy.
            actor: Who.

        Raises:
            StoreError: The store cannot be written.
        """
        with explained(), self._engine.begin() as connection:
            known = _until(connection)
            for policy, ends in until.items():
                values = {"until_unix_nanos": ends, "actor": actor}
                if policy not in known:
                    connection.execute(sa.insert(leases).values(values | {"policy": policy}))
                elif known[policy] < ends:
                    connection.execute(sa.update(leases).where(leases.c.policy == policy).values(values))

    def forget_leases(self, policies: Iterable[str]) -> None:
        """Forgets the leases of policies whose deployments ask for none any more.

        Raises:
            StoreError: The store cannot be written.
        """
        with explained(), self._engine.begin() as connection:
            connection.execute(sa.delete(leases).where(leases.c.policy.in_(list(policies))))

    def note(self, notes: Iterable[Note]) -> None:
        """Writes entries of the history.

        Raises:
            StoreError: The store cannot be written.
        """
        with explained(), self._engine.begin() as connection:
            _write(connection, notes)


def _until(connection: sa.Connection) -> dict[str, int]:
    rows = connection.execute(sa.select(leases.c.policy, leases.c.until_unix_nanos))
    return {row.policy: row.until_unix_nanos for row in rows}


def _write(connection: sa.Connection, notes: Iterable[Note]) -> None:
    for note in notes:
        row = {
            "policy": note.policy,
            "at_unix_nanos": note.at_unix_nanos,
            "actor": note.actor,
            "action": note.action,
            "reason": note.reason,
            "changes": json.dumps(note.lines, ensure_ascii=False),
            "document": note.document,
            "rollout_id": "",
            "epoch": 0,
        }
        connection.execute(sa.insert(history).values(row))
