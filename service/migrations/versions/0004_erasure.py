"""Former contents, erasure, prepared analyses; pgvector on PostgreSQL.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# PostgreSQL keeps frequent values of every column for its planner, where an erasure would not reach them.
_CONTENT = {
    "submissions": (
        "external_id", "title", "text", "address", "submitter_name", "submitter_phone", "submitter_party",
        "submitter_sector",
    ),
    "terms": ("words",),
    "events": ("detail",),
    "analyses": ("result",),
    "revisions": ("content",),
    "vectors": ("vector",),
    "reanalyses": ("vector", "words", "result"),
}  # fmt: skip


def upgrade() -> None:
    """Nothing stored before is erased or has a former content."""
    op.add_column("submissions", sa.Column("erased_at", sa.String(32)))
    op.create_table(
        "revisions",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("replaced_at", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
    )
    op.create_table(
        "reanalyses",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("submission_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("encoder_id", sa.String(64), primary_key=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("primary_theme", sa.String(100), nullable=False),
        sa.Column("matter", sa.String(100), nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("decision", sa.String(10), nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["office_id", "submission_id"], ["submissions.office_id", "submissions.id"]),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE EXTENSION IF NOT EXISTS vector")
        for table in ("vectors", "reanalyses"):
            _retype(table, "vector")
        for table, columns in _CONTENT.items():
            for column in columns:
                op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")


def downgrade() -> None:
    """Drop what ``upgrade`` created; tombstones become submissions without a text."""
    for table in ("reanalyses", "revisions"):
        op.drop_table(table)
    op.drop_column("submissions", "erased_at")
    if op.get_bind().dialect.name == "postgresql":
        _retype("vectors", "bytea")


def _retype(table: str, type_name: str) -> None:
    """PostgreSQL was not served before this revision; what there may be, ``minsheng reindex`` fills again."""
    op.execute(f"DELETE FROM {table}")  # noqa: S608
    op.execute(f"ALTER TABLE {table} ALTER COLUMN vector TYPE {type_name} USING NULL")
