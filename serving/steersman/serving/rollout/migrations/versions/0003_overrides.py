"""Overrides, leases and the kill switch; and entries of the history that are no revision of a deployment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Makes the tables, and lets entries of the history be without a revision."""
    op.create_table(
        "overrides",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("policy", sa.String(63), nullable=False),
        sa.Column("lane", sa.String(63), nullable=False),
        sa.Column("episode_id", sa.String(256), nullable=False),
        sa.Column("expires_unix_nanos", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_overrides"),
        sa.UniqueConstraint("policy", "lane", "episode_id", name="uq_overrides_policy_lane_episode_id"),
    )
    op.create_table(
        "leases",
        sa.Column("policy", sa.String(63), nullable=False),
        sa.Column("until_unix_nanos", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.PrimaryKeyConstraint("policy", name="pk_leases"),
    )
    op.create_table(
        "switches",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_switches"),
    )
    # SQLite cannot change a column: the table is copied, which keeps numbering only if it is told to.
    with op.batch_alter_table("history", table_kwargs={"sqlite_autoincrement": True}) as history:
        history.alter_column("revision", existing_type=sa.BigInteger(), nullable=True)
