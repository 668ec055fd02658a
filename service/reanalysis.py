"""New analyses of all that is stored, prepared beside those in use and put in their place in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from service.store import DERIVED, Analysis, Store, Stored, analysis_row
from service.tables import reanalyses, submissions


def prepare(store: Store, batch: Sequence[tuple[Stored, Analysis]], encoder_id: str) -> None:
    """Keep analyses and vectors beside those in use until ``switch``, in one transaction.

    What was revised or erased since it was read is left out.
    """
    numbers = [item.id for item, _ in batch]
    with store.writing() as connection:
        query = sa.select(submissions.c.id, submissions.c.content_sha256)
        unchanged = dict(connection.execute(query.where(store.present(), submissions.c.id.in_(numbers))).all())
        before = store.mine(reanalyses), reanalyses.c.encoder_id == encoder_id
        connection.execute(reanalyses.delete().where(*before, reanalyses.c.submission_id.in_(numbers)))
        for item, analysis in batch:
            if unchanged.get(item.id) == item.submission.sha256():
                row = {**analysis_row(analysis), "encoder_id": encoder_id, "submission_id": item.id}
                connection.execute(reanalyses.insert().values(office_id=store.office_id, **row))


def switch(store: Store, encoder_id: str) -> int:
    """Put all that was prepared for this encoder in place of what is in use, in one transaction; how many."""
    ready = store.mine(reanalyses), reanalyses.c.encoder_id == encoder_id
    with store.writing() as connection:
        names = ("submission_id", "model", "primary_theme", "matter", "district")
        query = sa.select(*(reanalyses.c[name] for name in names)).where(*ready)
        found = connection.execute(query.order_by(reanalyses.c.submission_id)).all()
        for table in DERIVED:
            numbers = sa.select(reanalyses.c.submission_id).where(*ready)
            connection.execute(table.delete().where(store.mine(table), table.c.submission_id.in_(numbers)))
            columns = table.columns.keys()
            rows = sa.select(*(reanalyses.c[name] for name in columns)).where(*ready)
            connection.execute(table.insert().from_select(columns, rows))
        connection.execute(reanalyses.delete().where(store.mine(reanalyses)))
        for row in found:
            detail = {"model": row.model, "encoder": encoder_id, "primary": row.primary_theme, "matter": row.matter,
                      "district": row.district}  # fmt: skip
            store.record(connection, row.submission_id, "analysed", "machine", detail)
    return len(found)
