"""The roster; bulletins with their versions, history and running numbers.

Revision ID: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    _roster()
    _bulletins()


def _roster() -> None:
    op.create_table(
        "members",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("edition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("code", sa.String(50), nullable=False),
        sa.Column("category", sa.String(50), nullable=False),
        sa.Column("sector", sa.String(50), nullable=False),
        sa.Column("party", sa.String(50), nullable=False),
        sa.Column("committee", sa.String(50), nullable=False),
        sa.Column("term", sa.String(50), nullable=False),
        sa.Column("first_day", sa.String(10), nullable=False),
        sa.Column("last_day", sa.String(10), nullable=False),
        sa.Column("since", sa.String(32), nullable=False),
        sa.Column("until", sa.String(32)),
    )


def _bulletins() -> None:
    op.create_table(
        "bulletins",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("series", sa.String(40), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("year", sa.Integer),
        sa.Column("number", sa.Integer),
        sa.Column("issued_on", sa.String(10)),
        sa.UniqueConstraint("office_id", "series", "year", "number"),
    )
    op.create_table(
        "bulletin_versions",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("bulletin_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("recipients", sa.Text, nullable=False),
        sa.Column("sources", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["office_id", "bulletin_id"], ["bulletins.office_id", "bulletins.id"]),
    )
    op.create_table(
        "bulletin_events",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("bulletin_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(30), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["office_id", "bulletin_id"], ["bulletins.office_id", "bulletins.id"]),
    )
    op.create_table(
        "issue_registers",
        sa.Column("office_id", sa.String(64), primary_key=True),
        sa.Column("series", sa.String(40), primary_key=True),
        sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    """Drop what ``upgrade`` created."""
    for table in ("issue_registers", "bulletin_events", "bulletin_versions", "bulletins", "members"):
        op.drop_table(table)
