"""The district that a text names, of every analysis.

Revision ID: 0014
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
# Table → its key.
_TABLES = {"analyses": ("office_id", "submission_id"), "reanalyses": ("office_id", "submission_id", "encoder_id")}


def upgrade() -> None:
    """Of what was analysed before, the district follows from the places that were found then."""
    connection = op.get_bind()
    for name, key in _TABLES.items():
        op.add_column(name, sa.Column("district", sa.String(100)))
        table = sa.table(name, *map(sa.column, (*key, "district", "result")))
        rows = connection.execute(sa.select(*(table.c[one] for one in key), table.c.result))
        for *where, district in [(*row[:-1], _named(row.result)) for row in rows]:
            if district is not None:
                here = [table.c[one] == value for one, value in zip(key, where, strict=True)]
                connection.execute(table.update().where(*here).values(district=district))


def _named(result: str) -> str | None:
    found = {one["district"] for one in json.loads(result).get("entities", []) if one.get("district")}
    return found.pop() if len(found) == 1 else None


def downgrade() -> None:
    """Drop the columns."""
    for name in _TABLES:
        with op.batch_alter_table(name) as batch:
            batch.drop_column("district")
