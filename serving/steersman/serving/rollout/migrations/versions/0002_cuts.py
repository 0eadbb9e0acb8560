"""Which revision cut episodes last, so that every host cuts them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the column; no revision that is there is known to have cut any."""
    op.add_column(
        "deployments", sa.Column("cut_revision", sa.BigInteger(), nullable=False, server_default="0")
    )
