"""Imports over HTTP: the file until it is done, how far it is, and what was rejected.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "imports",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("source", sa.String(100)),
        sa.Column("mapping", sa.Text, nullable=False),
        sa.Column("split", sa.String(20), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("content", sa.LargeBinary),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("new", sa.Integer, nullable=False),
        sa.Column("revised", sa.Integer, nullable=False),
        sa.Column("unchanged", sa.Integer, nullable=False),
        sa.Column("rejected", sa.Integer, nullable=False),
        sa.Column("refused", sa.Text, nullable=False),
        sa.Column("rejects", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(32)),
        sa.Column("lease_until", sa.String(32)),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("finished_at", sa.String(32)),
    )
    if op.get_bind().dialect.name == "postgresql":  # see 0004
        for column in ("rejects", "refused"):
            op.execute(f"ALTER TABLE imports ALTER COLUMN {column} SET STATISTICS 0")


def downgrade() -> None:
    """Drop what ``upgrade`` created."""
    op.drop_table("imports")
