"""The store: submissions, their former contents, vectors and analyses, and an append-only list of events.

Identity is (source, external_id), never the content: two citizens who write the same sentence are two submissions.
An erased submission leaves a tombstone (number, source, digest of the external id), so that no import brings it back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa

from nlp.contracts import FloatArray
from nlp.errors import InputError
from service.database import Database, StoreError
from service.standings import keep
from service.steps import Event
from service.tables import (
    analyses,
    events,
    of_submission,
    reanalyses,
    revisions,
    standings,
    submissions,
    terms,
    vectors,
)

Outcome = Literal["new", "revised", "unchanged", "erased"]
# To one of a batch: its number and what was done, or why it was not.
Answer = tuple[int, Outcome] | InputError
Batch = Sequence[tuple["Submission", "Analysis | None"]]
# What else belongs to the transaction that stores a batch.
Settle = Callable[[sa.Connection, Sequence[tuple[int, Outcome]]], None]
# What is derived from a submission and used to find it; ``reanalyses`` holds the same columns, not yet in use.
DERIVED = (vectors, terms, analyses)
# What came last from the source, whatever people have changed of it since: the same again is no news.
_RECEIVED = sa.func.coalesce(submissions.c.received_sha256, submissions.c.content_sha256)


@dataclass(frozen=True)
class Submitter:
    """Who raised it. ``kind``: 市民, 委员, 单位 …; ``sector``: 界别."""

    name: str | None = None
    phone: str | None = None
    party: str | None = None
    sector: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Submission:
    """A submission as received. ``received_at`` is ISO 8601 with offset, or None."""

    source: str
    external_id: str
    text: str
    title: str = ""
    received_at: str | None = None
    district: str | None = None
    address: str | None = None
    submitter: Submitter = field(default_factory=Submitter)

    def sha256(self) -> str:
        """Of everything received: equal means nothing has changed."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Analysis:
    """What the machine said of a submission: ``result`` is the whole answer of ``classify`` as plain data.

    ``words``: those a search goes by, in order; ``unknown_words``: the share of words that the model does not know.
    """

    model: str
    primary: str
    matter: str
    confidence: float
    decision: str
    result: dict[str, Any]
    vector: FloatArray
    words: list[str]
    unknown_words: float | None = None


@dataclass(frozen=True)
class Stored:
    """With its number, its analysis (None only while being stored), and the ``theme`` and ``matter`` people decided.

    ``district_named``: the district that its text names, which counts where the submission has none.
    ``erased_at``: ISO 8601, UTC; of an erased one, nothing but number, source and a digest for external id is left.
    """

    id: int
    submission: Submission
    analysis: dict[str, Any] | None
    theme: str | None = None
    matter: str | None = None
    erased_at: str | None = None
    district_named: str | None = None


@dataclass(frozen=True)
class Revision:
    """A former content of a submission, numbered from 1, and when (ISO 8601, UTC) another took its place."""

    number: int
    submission: Submission
    replaced_at: str


class Store(Database):
    """One office's submissions. Safe to share between threads; each call is one transaction."""

    def __init__(self, url: str, office_id: str) -> None:
        super().__init__(url, office_id)
        self.now = now

    def foresee(self, submission: Submission) -> tuple[int | None, Outcome]:
        """The number of the stored submission of the same identity, if any, and what storing this one would do."""
        with self.reading() as connection:
            known = self._known(connection, submission)
        return (known.id if known else None), _outcome(known, submission)

    def add(
        self, batch: Batch, encoder_id: str, actor: str, settle: Settle = lambda connection, done: None
    ) -> list[tuple[int, Outcome]]:
        """Store a batch in one transaction; (id, outcome) for each, in order.

        Only an unchanged or erased submission may come without its analysis. What ``settle`` raises undoes the
        transaction.
        """
        with self.writing() as connection:
            done = [self._add(connection, submission, analysis, encoder_id, actor) for submission, analysis in batch]
            settle(connection, done)
            return done

    def count(self) -> int:
        """Number of stored submissions, without the erased ones."""
        with self.reading() as connection:
            query = sa.select(sa.func.count()).select_from(submissions).where(self.present())
            return int(connection.execute(query).scalar_one())

    def get(self, number: int) -> Stored | None:
        """One submission by its number; of an erased one, what is left."""
        found = self._select(sa.and_(self.mine(submissions), submissions.c.id == number))
        return next(found, None)

    def get_many(self, numbers: Sequence[int]) -> list[Stored]:
        """Submissions by number, in the order given; unknown and erased ones are left out."""
        found = {s.id: s for s in self._select(sa.and_(self.present(), submissions.c.id.in_(numbers)))}
        return [found[number] for number in numbers if number in found]

    def page(
        self,
        *,
        after: int = 0,
        limit: int = 50,
        theme: str | None = None,
        source: str | None = None,
        where: Sequence[sa.ColumnElement[bool]] = (),
    ) -> list[Stored]:
        """Submissions numbered above ``after``, ascending, no erased ones.

        Optionally of one theme (which people may have decided) or source, or as ``where`` says.
        """
        conditions = [self.present(), submissions.c.id > after, *where]
        if theme:
            conditions.append(sa.func.coalesce(standings.c.theme, analyses.c.primary_theme) == theme)
        if source:
            conditions.append(submissions.c.source == source)
        return list(self._select(sa.and_(*conditions), limit))

    def everything(self) -> Iterator[Stored]:
        """All submissions that are not erased, by number, read in pages."""
        after = 0
        while page := self.page(after=after, limit=500):
            yield from page
            after = page[-1].id

    def history(self, number: int) -> list[dict[str, Any]]:
        """The events of a submission, oldest first."""
        with self.reading() as connection:
            query = sa.select(events).where(self.mine(events), events.c.submission_id == number).order_by(events.c.id)
            return [
                {"kind": row.kind, "actor": row.actor, "at": row.at, "detail": json.loads(row.detail)}
                for row in connection.execute(query)
            ]

    def revisions(self, number: int) -> list[Revision]:
        """The former contents of a submission, oldest first."""
        query = sa.select(revisions).where(self.mine(revisions), revisions.c.submission_id == number)
        with self.reading() as connection:
            rows = connection.execute(query.order_by(revisions.c.id)).all()
        return [Revision(row.id, _submission(json.loads(row.content)), row.replaced_at) for row in rows]

    def erasures(self, since: int) -> list[int]:
        """Numbers of the submissions erased after event ``since``."""
        query = sa.select(events.c.submission_id).where(
            self.mine(events), events.c.id > since, events.c.kind == "erased"
        )
        with self.reading() as connection:
            return list(connection.execute(query.order_by(events.c.id)).scalars())

    def vectors(self, encoder_id: str, since: int = 0) -> tuple[list[int], FloatArray]:
        """Numbers and base vectors float32 (n, d) of all submissions, or those analysed after event ``since``."""
        with self.reading() as connection:
            query = (
                sa.select(vectors.c.submission_id, vectors.c.vector)
                .where(self.mine(vectors), vectors.c.encoder_id == encoder_id)
                .order_by(vectors.c.submission_id)
            )
            if since:
                later = self.mine(events), events.c.id > since, events.c.kind == "analysed"
                query = query.where(vectors.c.submission_id.in_(sa.select(events.c.submission_id).where(*later)))
            rows = connection.execute(query).all()
        if not rows:
            return [], np.zeros((0, 0), dtype=np.float32)
        return [row.submission_id for row in rows], np.stack([row.vector for row in rows])

    def without_vector(self, encoder_id: str, prepared: bool = False) -> list[int]:
        """Numbers of the submissions that have no vector of this encoder; nor, if ``prepared``, one to switch to."""
        query = sa.select(submissions.c.id).where(self.present())
        for table in (vectors, reanalyses) if prepared else (vectors,):
            there = sa.select(table.c.submission_id).where(self.mine(table), table.c.encoder_id == encoder_id)
            query = query.where(submissions.c.id.not_in(there))
        with self.reading() as connection:
            return list(connection.execute(query.order_by(submissions.c.id)).scalars())

    def stamp(self) -> int:
        """The number of the last event: unchanged means that nothing was stored or changed since."""
        with self.reading() as connection:
            return int(connection.execute(sa.select(sa.func.max(events.c.id)).where(self.mine(events))).scalar() or 0)

    def _add(
        self, connection: sa.Connection, submission: Submission, analysis: Analysis | None, encoder_id: str, actor: str
    ) -> tuple[int, Outcome]:
        known = self._known(connection, submission)
        outcome = _outcome(known, submission)
        if outcome in {"unchanged", "erased"}:
            return known.id, outcome
        if analysis is None:  # another process revised it between the look and the write
            raise StoreError(f"{submission.source} {submission.external_id} 刚被其他程序改动，请重试")
        digests = {"content_sha256": submission.sha256(), "received_sha256": None}
        row = {**_row(submission), **digests, "stored_at": self.now()}
        if known is None:
            number = self.next_number(connection, submissions)
            connection.execute(submissions.insert().values(office_id=self.office_id, id=number, **row))
            self.record(connection, number, "received", actor, {"source": submission.source, **filed(submission)})
        else:
            number = known.id
            revision = self._keep(connection, number)
            mine = self.mine(submissions), submissions.c.id == number
            connection.execute(submissions.update().where(*mine).values(**row))
            digests = {"before": known.content_sha256, "after": row["content_sha256"]}
            self.record(connection, number, "revised", actor, {**digests, "revision": revision, **filed(submission)})
        self._analysed(connection, number, analysis, encoder_id)
        return number, outcome

    def _keep(self, connection: sa.Connection, number: int) -> int:
        """Copy the content of a submission to its revisions, before another takes its place."""
        here = self.mine(revisions), revisions.c.submission_id == number
        last = connection.execute(sa.select(sa.func.max(revisions.c.id)).where(*here)).scalar()
        mine = self.mine(submissions), submissions.c.id == number
        before = connection.execute(sa.select(submissions).where(*mine)).mappings().one()
        row = {"submission_id": number, "id": (last or 0) + 1, "replaced_at": self.now()}
        row["content"] = json.dumps(_row(_submission(before)), ensure_ascii=False)
        connection.execute(revisions.insert().values(office_id=self.office_id, **row))
        return int(row["id"])

    def _analysed(self, connection: sa.Connection, number: int, analysis: Analysis, encoder_id: str) -> None:
        """Put an analysis in place of what there was, and say so."""
        row = {**analysis_row(analysis), "office_id": self.office_id, "submission_id": number}
        row["encoder_id"] = encoder_id
        for table in (*DERIVED, reanalyses):
            connection.execute(table.delete().where(self.mine(table), table.c.submission_id == number))
        for table in DERIVED:
            connection.execute(table.insert().values({name: row[name] for name in table.columns.keys()}))  # noqa: SIM118
        judged = {name: row[name] for name in ("matter", "district")} | {"primary": analysis.primary}
        detail = {"model": analysis.model, "encoder": encoder_id, **judged}
        self.record(connection, number, "analysed", "machine", detail)

    def _known(self, connection: sa.Connection, submission: Submission) -> Any:
        names = submission.external_id, tombstone(self.office_id, submission.source, submission.external_id)
        here = submissions.c.source == submission.source, submissions.c.external_id.in_(names)
        query = sa.select(submissions.c.id, _RECEIVED.label("content_sha256"), submissions.c.erased_at)
        query = query.where(self.mine(submissions), *here)
        return connection.execute(query).one_or_none()

    def _select(self, condition: sa.ColumnElement[bool], limit: int | None = None) -> Iterator[Stored]:
        a, s = analyses.c, standings.c
        query = (
            sa.select(submissions, a.result, a.district.label("named"), s.theme, s.matter)
            .outerjoin(analyses, of_submission(analyses))
            .outerjoin(standings, of_submission(standings))
            .where(condition)
            .order_by(submissions.c.id)
            .limit(limit)
        )
        with self.reading() as connection:
            rows = connection.execute(query).mappings().all()
        for row in rows:
            analysis = json.loads(row["result"]) if row["result"] else None
            decided = row["theme"], row["matter"]
            yield Stored(row["id"], _submission(row), analysis, *decided, row["erased_at"], row["named"])

    def amend(
        self, connection: sa.Connection, number: int, submission: Submission, analysis: Analysis | None, encoder_id: str
    ) -> None:
        """Replace a submission, and its analysis if there is a new one; what was received stays known by its digest."""
        self._keep(connection, number)
        here = self.mine(submissions), submissions.c.id == number
        digests = {"content_sha256": submission.sha256(), "received_sha256": _RECEIVED}
        connection.execute(submissions.update().where(*here).values(**_row(submission), **digests))
        if analysis is not None:
            self._analysed(connection, number, analysis, encoder_id)

    def record(self, connection: sa.Connection, number: int, kind: str, actor: str, detail: dict[str, Any]) -> None:
        """Append an event of submission ``number`` and bring its standing up to it, in the transaction it tells of."""
        event = Event(self.next_number(connection, events), kind, actor, self.now(), detail)
        row = {"id": event.id, "submission_id": number, "kind": kind, "actor": actor, "at": event.at}
        connection.execute(
            events.insert().values(office_id=self.office_id, **row, detail=json.dumps(detail, ensure_ascii=False))
        )
        keep(connection, self.office_id, number, event)

    def next_number(self, connection: sa.Connection, table: sa.Table) -> int:
        """The next running number of a table; safe because the writer holds the lock."""
        query = sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0) + 1).where(self.mine(table))
        return int(connection.execute(query).scalar_one())

    def mine(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """The condition that a row belongs to this office."""
        return table.c.office_id == self.office_id

    def present(self) -> sa.ColumnElement[bool]:
        """The condition that a submission belongs to this office and is not erased."""
        return sa.and_(self.mine(submissions), submissions.c.erased_at.is_(None))


def tombstone(office_id: str, source: str, external_id: str) -> str:
    """What stands for the external id of an erased submission: enough to know it when it comes again."""
    return f"sha256:{hashlib.sha256(json.dumps([office_id, source, external_id]).encode()).hexdigest()}"


def _outcome(known: Any, submission: Submission) -> Outcome:
    if known is None:
        return "new"
    if known.erased_at is not None:
        return "erased"
    return "unchanged" if known.content_sha256 == submission.sha256() else "revised"


def filed(submission: Submission) -> dict[str, Any]:
    """What statistics count a submission under: in its events, so that a filed figure comes out again."""
    district, sector = submission.district, submission.submitter.sector
    return {"received_at": submission.received_at, "district": district, "sector": sector}


def _row(submission: Submission) -> dict[str, Any]:
    row = {f.name: getattr(submission, f.name) for f in fields(Submission) if f.name != "submitter"}
    return row | {f"submitter_{name}": value for name, value in asdict(submission.submitter).items()}


def analysis_row(analysis: Analysis) -> dict[str, Any]:
    """The columns that hold an analysis, of all ``DERIVED`` tables together."""
    return {
        "vector": analysis.vector,
        "words": " ".join(analysis.words),
        "model": analysis.model,
        "primary_theme": analysis.primary,
        "matter": analysis.matter,
        "district": analysis.result.get("district"),
        "confidence": analysis.confidence,
        "decision": analysis.decision,
        "result": json.dumps(analysis.result, ensure_ascii=False),
        "unknown_words": analysis.unknown_words,
    }


def _submission(row: Any) -> Submission:
    own = {f.name: row[f.name] for f in fields(Submission) if f.name != "submitter"}
    return Submission(**own, submitter=Submitter(**{f.name: row[f"submitter_{f.name}"] for f in fields(Submitter)}))


def now() -> str:
    """The time of an event: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
