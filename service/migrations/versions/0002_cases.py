"""Cases, their members, follow-ups.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; what was stored before is in no case and follows nothing."""
    op.create_table(
        "cases",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("lead_id", sa.Integer, nullable=False),
        sa.Column("opened_at", sa.String(32), nullable=False),
        sa.Column("closed_at", sa.String(32)),
        sa.ForeignKeyConstraint(["office_id", "lead_id"], ["submissions.office_id", "submissions.id"]),
    )
    op.create_table(
        "case_members",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("case_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("left_at", sa.String(32)),
        sa.Column("open", sa.Integer),
        sa.UniqueConstraint("office_id", "submission_id", "open"),
        sa.ForeignKeyConstraint(["office_id", "case_id"], ["cases.office_id", "cases.id"]),
        sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
    )
    op.create_table(
        "follows",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("earlier_id", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
        sa.ForeignKeyConstraint(["office_id", "earlier_id"], ["submissions.office_id", "submissions.id"]),
    )


def downgrade() -> None:
    """Drop what ``upgrade`` created."""
    for table in ("follows", "case_members", "cases"):
        op.drop_table(table)
