"""The share of words that the theme model does not know; not known of what was analysed before.

Revision ID: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    for table in ("analyses", "reanalyses"):
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("unknown_words", sa.Float))


def downgrade() -> None:
    """Drop the column."""
    for table in ("analyses", "reanalyses"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("unknown_words")
