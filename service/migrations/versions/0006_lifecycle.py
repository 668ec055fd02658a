"""Standings, the register's running numbers, replies; the digest of what was received.

Revision ID: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; what was stored before has no row and stands where it began."""
    op.create_table(
        "standings",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("number", sa.String(20)),
        sa.Column("lead_unit", sa.String(100)),
        sa.Column("due", sa.String(10)),
        sa.Column("theme", sa.String(100)),
        sa.Column("matter", sa.String(100)),
        sa.Column("corrected", sa.Integer),
        sa.Column("standing", sa.Text, nullable=False),
        sa.UniqueConstraint("office_id", "number"),
        sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
    )
    op.create_table(
        "registers",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last", sa.Integer, nullable=False),
    )
    op.create_table(
        "replies",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("submission_id", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
    )
    with op.batch_alter_table("submissions") as batch:
        batch.add_column(sa.Column("received_sha256", sa.String(64)))
    op.create_index("ix_events_submission", "events", ["office_id", "submission_id", "id"])
    op.create_index("ix_standings_due", "standings", ["office_id", "due"])
    op.create_index("ix_replies_submission", "replies", ["office_id", "submission_id"])
    if op.get_bind().dialect.name == "postgresql":  # see 0004
        op.execute("ALTER TABLE replies ALTER COLUMN text SET STATISTICS 0")


def downgrade() -> None:
    """Drop what ``upgrade`` created."""
    op.drop_index("ix_events_submission", "events")
    with op.batch_alter_table("submissions") as batch:
        batch.drop_column("received_sha256")
    for table in ("replies", "registers", "standings"):
        op.drop_table(table)
