"""The tables of the store. What is here is what `migrations` lead to; a test compares.

Times are Unix nanoseconds, UTC. Documents are JSON as `steersman.serving.rollout.deployment` reads it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0003"
"""The newest migration: what the tables below are like."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Id = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the type is INTEGER."""

deployments = Table(
    "deployments",
    metadata,
    Column("policy", String(63), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("rollout_id", String(64), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Column("seed_digest", String(64), nullable=False),
    Column("cut_revision", BigInteger, nullable=False, server_default="0"),
)
"""The deployment in force of each policy. `seed_digest` is of the file that was last applied at a start;
`cut_revision` the last revision that cut the episodes of the lanes that it closed."""

history = Table(
    "history",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("policy", String(63), nullable=False),
    Column("revision", BigInteger),
    Column("at_unix_nanos", BigInteger, nullable=False),
    Column("actor", String(256), nullable=False),
    Column("action", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("changes", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("rollout_id", String(64), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    UniqueConstraint("policy", "revision"),
    Index(None, "policy", "id"),
    sqlite_autoincrement=True,
)
"""Every change, never changed or removed; `changes` is a JSON list of lines. What changes no deployment, such
as an override, has no revision; its document is the override. The kill switch is of no policy."""

overrides = Table(
    "overrides",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("policy", String(63), nullable=False),
    Column("lane", String(63), nullable=False),
    Column("episode_id", String(256), nullable=False),
    Column("expires_unix_nanos", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    UniqueConstraint("policy", "lane", "episode_id"),
)
"""What people have ordered in place of policies, as `steersman.safety.commands` reads it; lane and episode
are empty where it is for all. Rows that are over may still be there."""

leases = Table(
    "leases",
    metadata,
    Column("policy", String(63), primary_key=True),
    Column("until_unix_nanos", BigInteger, nullable=False),
    Column("actor", String(256), nullable=False),
)
"""Until when policies may answer whose deployment asks for a sign of somebody; and who gave the last one."""

switches = Table(
    "switches",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("document", Text, nullable=False),
)
"""What is on for all hosts: only the kill switch, under the name `kill`."""
