"""Search in the store: filters, the indexes in memory that follow it, and the words they are built from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa

from nlp.contracts import FloatArray, Neighbour
from nlp.errors import InputError
from nlp.normalise import validate
from nlp.retrieval import Keys, TermIndex, VectorIndex, fuse
from nlp.taxonomy import Taxonomy
from service.dates import parse_date
from service.standings import STATE
from service.steps import STATES
from service.store import Store
from service.tables import analyses, case_members, events, of_submission, standings, submissions, terms

# Length of the two rankings that are fused, where fewer are asked for. In longer ones, what is far down in both
# outranks the nearest of one (bench/candidates.py: 0.90 of the duplicates among ten at 10, 0.83 at 50).
_DEPTH = 10
# Graded on arrival: the nearest by vector, and the best by words among the others.
NEAREST = 10
BY_WORDS = 5
_MAX_NAME = 100
# A district with and without the word for what it is.
_UNITS = ("区", "县", "市")


@dataclass(frozen=True)
class Filters:
    """What a submission must be to be found; None asks nothing. See ``read_filters``.

    ``received_from`` and ``received_to``: with offset, both included; what has no date is then not found.
    ``in_case``: whether it is in an open case.
    """

    theme: str | None = None
    matter: str | None = None
    district: str | None = None
    source: str | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None
    in_case: bool | None = None
    state: str | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) is not None for f in fields(self))


def read_filters(values: Mapping[str, Any], taxonomy: Taxonomy) -> Filters:
    """Filters from text, as HTTP and command line give them; raises InputError naming the field.

    A date without a time means the whole day.
    """
    names = ("theme", "matter", "district", "source", "state")
    named = {n: validate(values[n], n, _MAX_NAME).strip() for n in names if values.get(n) is not None}
    for name, known in (("theme", {t.id for t in taxonomy.themes}), ("matter", set(taxonomy.matter_by_id))):
        if name in named and named[name] not in known:
            raise InputError("invalid_value", name, f"分类体系中没有 {named[name]!r}")
    if named.get("state", STATES[0]) not in STATES:
        raise InputError("invalid_value", "state", f"{named['state']!r} 无效，应为 {'、'.join(STATES)} 之一")
    first = read_moment("received_from", values.get("received_from"))
    last = read_moment("received_to", values.get("received_to"), end=True)
    if first is not None and last is not None and first > last:
        raise InputError("invalid_value", "received_to", "不能早于 received_from")
    return Filters(**named, received_from=first, received_to=last, in_case=values.get("in_case"))


def read_moment(field: str, value: object, *, end: bool = False) -> datetime | None:
    """The time meant; of a day alone its first moment, or its last (``end``); raises InputError."""
    if value is None:
        return None
    text = validate(value, field, _MAX_NAME).strip()
    moment = datetime.fromisoformat(parse_date(text, field) or "")
    whole_day = not any(mark in text for mark in ":：时点T")
    return moment + timedelta(days=1) - timedelta(microseconds=1) if end and whole_day else moment


def matching(store: Store, filters: Filters) -> Keys:
    """Numbers of the submissions that pass, int64, ascending."""
    received = submissions.c.received_at
    query = sa.select(submissions.c.id, received).where(store.present())
    if any(v is not None for v in (filters.theme, filters.matter, filters.district, filters.state)):
        query = query.outerjoin(analyses, of_submission(analyses)).outerjoin(standings, of_submission(standings))
    judged = (sa.func.coalesce(standings.c.theme, analyses.c.primary_theme),
              sa.func.coalesce(standings.c.matter, analyses.c.matter))  # fmt: skip
    for column, value in ((judged[0], filters.theme), (judged[1], filters.matter),
                          (submissions.c.source, filters.source), (STATE, filters.state)):  # fmt: skip
        if value is not None:
            query = query.where(column == value)
    if filters.district is not None:
        query = query.where(in_district(filters.district))
    if filters.in_case is not None:
        inside = sa.select(case_members.c.submission_id).where(store.mine(case_members), case_members.c.open == 1)
        query = query.where(submissions.c.id.in_(inside) if filters.in_case else submissions.c.id.not_in(inside))
    # Dates are stored with their own offsets: text narrows to the day before and after, the rest is compared as time.
    if filters.received_from is not None:
        query = query.where(received >= (filters.received_from - timedelta(days=1)).date().isoformat())
    if filters.received_to is not None:
        query = query.where(received <= (filters.received_to + timedelta(days=2)).date().isoformat())
    with store.reading() as connection:
        rows = connection.execute(query.order_by(submissions.c.id)).all()
    return np.array([number for number, at in rows if _within(at, filters)], dtype=np.int64)


def in_district(name: str) -> sa.ColumnElement[bool]:
    """The condition that a submission, joined with its analysis, is of a district: its own, else the one named in it.

    The district may come with or without the word for what it is.
    """
    stem = name.rstrip("".join(_UNITS)) or name
    own = sa.func.coalesce(sa.func.nullif(submissions.c.district, ""), analyses.c.district)
    return own.in_((name, stem, *(stem + unit for unit in _UNITS)))


def _within(received_at: str | None, filters: Filters) -> bool:
    first, last = filters.received_from, filters.received_to
    if first is None and last is None:
        return True
    moment = datetime.fromisoformat(received_at) if received_at else None
    return moment is not None and (first is None or moment >= first) and (last is None or moment <= last)


def words_of(store: Store, numbers: Collection[int]) -> dict[int, list[str]]:
    """Number → the words a search goes by, of those that have them stored."""
    return dict(_words(store, terms.c.submission_id.in_(numbers)))


def _words(store: Store, condition: sa.ColumnElement[bool]) -> Iterator[tuple[int, list[str]]]:
    """Read one by one: the words of a million texts would not fit into memory as lists."""
    query = sa.select(terms.c.submission_id, terms.c.words).where(store.mine(terms), condition)
    with store.reading() as connection:
        for number, words in connection.execute(query.order_by(terms.c.submission_id)):
            yield number, words.split()


def without_words(store: Store) -> list[int]:
    """Numbers of the submissions stored before words were kept: found by vector only until ``reindex``."""
    there = sa.select(terms.c.submission_id).where(store.mine(terms))
    query = sa.select(submissions.c.id).where(store.present(), submissions.c.id.not_in(there))
    with store.reading() as connection:
        return list(connection.execute(query.order_by(submissions.c.id)).scalars())


def advice(store: Store) -> str | None:
    """What to tell the user where not everything is found by its words; None where all is well."""
    query = sa.select(sa.func.count()).select_from(terms).where(store.mine(terms))
    with store.reading() as connection:
        lacking = store.count() - int(connection.execute(query).scalar_one())
    return f"有 {lacking} 件材料没有检索用词，目前只按语义查找，请执行 minsheng reindex 补上" if lacking else None


def set_words(store: Store, found: Mapping[int, Sequence[str]]) -> None:
    """Store the words of submissions that have none, in one transaction; those erased since are left out."""
    with store.writing() as connection:
        there = sa.select(terms.c.submission_id).where(store.mine(terms))
        query = sa.select(submissions.c.id).where(store.present(), submissions.c.id.not_in(there))
        for number in connection.execute(query.where(submissions.c.id.in_(found))).scalars().all():
            row = {"submission_id": number, "words": " ".join(found[number])}
            connection.execute(terms.insert().values(office_id=store.office_id, **row))
            store.record(connection, number, "indexed", "machine", {"words": True})


class Index:
    """Vectors and words of one store in memory. Not safe to share: on the encoder's thread only."""

    def __init__(self, encoder_id: str) -> None:
        self._encoder_id = encoder_id
        self._empty()

    def _empty(self) -> None:
        self._stamp = 0
        self.vectors = VectorIndex()
        self.terms = TermIndex()

    def follow(self, store: Store) -> Index:
        """Bring the indexes up to the store, reading only what changed since the last call.

        After an erasure everything is read anew: the indexes keep rows and words that are out of use.
        """
        stamp = store.stamp()
        if stamp != self._stamp:
            if self._stamp and store.erasures(self._stamp):
                self._empty()
            self.vectors.put(*store.vectors(self._encoder_id, self._stamp))
            changed: sa.ColumnElement[bool] = sa.true()
            if self._stamp:
                later = store.mine(events), events.c.id > self._stamp, events.c.kind.in_(("analysed", "indexed"))
                changed = terms.c.submission_id.in_(sa.select(events.c.submission_id).where(*later))
            for number, words in _words(store, changed):
                self.terms.put(number, words)
            self._stamp = stamp
        return self

    def search(
        self, vector: FloatArray, words: Sequence[str], limit: int, allowed: Keys | None = None
    ) -> list[Neighbour]:
        """The ``limit`` best by both rankings fused, with their cosines; all ``allowed`` ones count, and only they."""
        depth = max(limit, _DEPTH)
        by_vector, by_words = self._rankings(vector, words, depth, depth, allowed)
        return [Neighbour(key, self._cosine(vector, key)) for key in fuse((by_vector, by_words), limit)]

    def candidates(
        self, vector: FloatArray, words: Sequence[str], allowed: Keys | None = None, without: int | None = None
    ) -> dict[int, float]:
        """Number → cosine of what is worth grading: the ten nearest, and the five best by words among the others.

        A union, not a cut through the fused ranking: none of the nearest is lost. ``without``: the one that asks.
        """
        near, worded = self._rankings(vector, words, NEAREST + 1, NEAREST + BY_WORDS + 1, allowed)
        near = [key for key in near if key != without][:NEAREST]
        extra = [key for key in worded if key != without and key not in near][:BY_WORDS]
        return {key: self._cosine(vector, key) for key in (*near, *extra)}

    def _rankings(
        self, vector: FloatArray, words: Sequence[str], near: int, worded: int, allowed: Keys | None
    ) -> tuple[list[int], list[int]]:
        """Keys by vector and by words; what has no vector of this encoder is in neither."""
        mask = None if allowed is None else np.isin(self.vectors.keys, allowed)
        by_vector = [n.key for n in self.vectors.rank(vector, near, mask)]
        by_words = [n.key for n in self.terms.rank(words, worded, allowed)]
        return by_vector, [key for key in by_words if self.vectors.get(key) is not None]

    def _cosine(self, vector: FloatArray, key: int) -> float:
        found = self.vectors.cosine(vector, key)
        assert found is not None  # noqa: S101  (both rankings hold only what has a vector)
        return found
