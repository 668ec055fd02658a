"""Topics, which submissions are in them, the steps taken on them, and past research and priorities.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; topics are found when they are first asked for."""
    op.create_table(
        "topics",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("level", sa.String(10), nullable=False),
        sa.Column("parent_id", sa.Integer),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("given_name", sa.String(200)),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("merged_into", sa.Integer),
        sa.Column("pinned", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "topic_members",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("topic_id", sa.Integer),
        sa.Column("broad_id", sa.Integer),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
        sa.ForeignKeyConstraint(["office_id", "topic_id"], ["topics.office_id", "topics.id"]),
        sa.ForeignKeyConstraint(["office_id", "broad_id"], ["topics.office_id", "topics.id"]),
    )
    op.create_table(
        "topic_steps",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("topic_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(30), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["office_id", "topic_id"], ["topics.office_id", "topics.id"]),
    )
    op.create_table(
        "works",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("abstract", sa.Text, nullable=False),
        sa.Column("year", sa.Integer),
        sa.Column("status", sa.String(100)),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("content_sha256", sa.String(64), nullable=False),
        sa.Column("encoder_id", sa.String(64), nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("imported_at", sa.String(32), nullable=False),
        sa.UniqueConstraint("office_id", "kind", "digest"),
    )


def downgrade() -> None:
    """Drop what ``upgrade`` created."""
    for table in ("works", "topic_steps", "topic_members", "topics"):
        op.drop_table(table)
