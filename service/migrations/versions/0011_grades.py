"""Grades of pairs of submissions, so that asking for cases again costs only what is new.

Revision ID: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "grades",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("other_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("mark", sa.String(64), nullable=False),
        sa.Column("probability", sa.Float),
        sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
        sa.ForeignKeyConstraint(["office_id", "other_id"], ["submissions.office_id", "submissions.id"]),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("grades")
