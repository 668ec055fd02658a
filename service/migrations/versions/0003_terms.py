"""The words of submissions, for the search by words.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; ``minsheng reindex`` fills it for what was stored before."""
    op.create_table(
        "terms",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
    )


def downgrade() -> None:
    """Drop what ``upgrade`` created."""
    op.drop_table("terms")
