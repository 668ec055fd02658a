"""Grades of pairs of stored submissions, kept so that asking for cases again costs only what is new.

Derived: a grade counts for the two contents and the model it was made with, and may be dropped at any time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping

import sqlalchemy as sa

from service.database import StoreError
from service.store import Store
from service.tables import grades, submissions

Pair = tuple[int, int]

_LOG = logging.getLogger(__name__)


class Grades:
    """P(duplicate) of pairs (lower number first), None where not graded so, as one model found them.

    ``digests``: the contents of the submissions they are wanted for. Not to be shared between threads.
    """

    def __init__(self, store: Store, model: str, digests: Mapping[int, str]) -> None:
        self._store = store
        self._model = model
        self._digests = digests
        query = sa.select(grades.c.other_id, grades.c.submission_id, grades.c.mark, grades.c.probability)
        with store.reading() as connection:
            rows = connection.execute(query.where(store.mine(grades))).all()
        self._known: dict[Pair, float | None] = {
            (a, b): p for a, b, mark, p in rows if a in digests and b in digests and mark == self._mark((a, b))
        }

    def __contains__(self, pair: Pair) -> bool:
        return pair in self._known

    def __getitem__(self, pair: Pair) -> float | None:
        return self._known[pair]

    def add(self, found: Mapping[Pair, float | None]) -> None:
        """Take in what has been graded, and store it; where the database cannot be written, it serves this time only.

        Of a submission erased meanwhile nothing is stored.
        """
        self._known.update(found)
        try:
            with self._store.writing() as connection:
                self._write(connection, found)
        except StoreError as error:
            _LOG.warning("grades are not kept: %s", error)

    def _write(self, connection: sa.Connection, found: Mapping[Pair, float | None]) -> None:
        numbers = {number for pair in found for number in pair}
        query = sa.select(submissions.c.id).where(self._store.present(), submissions.c.id.in_(numbers))
        there = set(connection.execute(query).scalars())
        pairs = [pair for pair in found if there.issuperset(pair)]
        if pairs:
            keys = [{"a": a, "b": b} for a, b in pairs]
            here = grades.c.other_id == sa.bindparam("a"), grades.c.submission_id == sa.bindparam("b")
            connection.execute(grades.delete().where(self._store.mine(grades), *here), keys)
            rows = [{"other_id": a, "submission_id": b, "mark": self._mark((a, b)), "probability": found[a, b]}
                    for a, b in pairs]  # fmt: skip
            connection.execute(grades.insert(), [{"office_id": self._store.office_id, **row} for row in rows])

    def _mark(self, pair: Pair) -> str:
        told = "\n".join((self._model, *(self._digests[number] for number in pair)))
        return hashlib.sha256(told.encode()).hexdigest()
