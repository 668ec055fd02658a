"""The store: submissions, their vectors and analyses, and an append-only list of events, in one SQLite file.

Identity is (source, external_id), never the content: two citizens who write the same sentence are two submissions.
Writers take the database's lock at once (``BEGIN IMMEDIATE``), so two processes wait for each other and lose nothing.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from nlp.contracts import FloatArray
from nlp.errors import MinshengError
from service.standings import keep, of_submission
from service.steps import Event
from service.tables import analyses, events, standings, submissions, terms, vectors

Outcome = Literal["new", "revised", "unchanged"]
Batch = Sequence[tuple["Submission", "Analysis | None"]]
# What else belongs to the transaction that stores a batch.
Settle = Callable[[sa.Connection, Sequence[tuple[int, Outcome]]], None]
# What came last from the source, whatever people have changed of it since: the same again is no news.
_RECEIVED = sa.func.coalesce(submissions.c.received_sha256, submissions.c.content_sha256)


class StoreError(MinshengError):
    """The database cannot be opened, read or written; the message names it."""


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

    ``words``: those a search goes by, in order.
    """

    model: str
    primary: str
    matter: str
    confidence: float
    decision: str
    result: dict[str, Any]
    vector: FloatArray
    words: list[str]


@dataclass(frozen=True)
class Stored:
    """With its number, its analysis (None only while being stored), and the ``theme`` and ``matter`` people decided."""

    id: int
    submission: Submission
    analysis: dict[str, Any] | None
    theme: str | None = None
    matter: str | None = None


class Store:
    """One office's view of a database. Safe to share between threads; each call is one transaction."""

    def __init__(self, url: str, office_id: str) -> None:
        self.url = url
        self.office_id = office_id
        self.now = now
        self._engine = _engine(url)
        with self._errors():
            _upgrade(self._engine)

    def close(self) -> None:
        """Return all connections."""
        self._engine.dispose()

    def outcome(self, submission: Submission) -> Outcome:
        """What storing this submission would do."""
        known = self.find(submission)
        if known is None:
            return "new"
        return "unchanged" if known.content_sha256 == submission.sha256() else "revised"

    def find(self, submission: Submission) -> Any:
        """Row (id, content_sha256) of the stored submission of the same identity, or None."""
        with self.reading() as connection:
            return self._known(connection, submission)

    def add(
        self, batch: Batch, encoder_id: str, actor: str, settle: Settle = lambda connection, done: None
    ) -> list[tuple[int, Outcome]]:
        """Store a batch in one transaction; (id, outcome) for each, in order.

        Only an unchanged submission may come without its analysis. What ``settle`` raises undoes the transaction.
        """
        with self.writing() as connection:
            done = [self._add(connection, submission, analysis, encoder_id, actor) for submission, analysis in batch]
            settle(connection, done)
            return done

    def count(self) -> int:
        """Number of stored submissions."""
        with self.reading() as connection:
            query = sa.select(sa.func.count()).select_from(submissions).where(self.mine(submissions))
            return int(connection.execute(query).scalar_one())

    def get(self, number: int) -> Stored | None:
        """One submission by its number."""
        return next(iter(self.get_many([number])), None)

    def get_many(self, numbers: Sequence[int]) -> list[Stored]:
        """Submissions by number, in the order given; unknown ones are left out."""
        found = {s.id: s for s in self._select(submissions.c.id.in_(numbers))}
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
        """Submissions numbered above ``after``, ascending, optionally of one theme or source, or as ``where`` says."""
        conditions = [submissions.c.id > after, *where]
        if theme:
            conditions.append(sa.func.coalesce(standings.c.theme, analyses.c.primary_theme) == theme)
        if source:
            conditions.append(submissions.c.source == source)
        return list(self._select(sa.and_(*conditions), limit))

    def everything(self) -> Iterator[Stored]:
        """All submissions by number, read in pages."""
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
        matrix = np.frombuffer(b"".join(row.vector for row in rows), dtype="<f4").reshape(len(rows), -1)
        return [row.submission_id for row in rows], matrix

    def without_vector(self, encoder_id: str) -> list[int]:
        """Numbers of the submissions that have no vector of this encoder."""
        there = sa.select(vectors.c.submission_id).where(self.mine(vectors), vectors.c.encoder_id == encoder_id)
        query = sa.select(submissions.c.id).where(self.mine(submissions), submissions.c.id.not_in(there))
        with self.reading() as connection:
            return list(connection.execute(query.order_by(submissions.c.id)).scalars())

    def reanalyse(self, batch: Sequence[tuple[int, Analysis]], encoder_id: str) -> None:
        """Replace the analyses and vectors of submissions, in one transaction."""
        with self.writing() as connection:
            for number, analysis in batch:
                self._analysed(connection, number, analysis, encoder_id)

    def stamp(self) -> int:
        """The number of the last event: unchanged means that nothing was stored or changed since."""
        with self.reading() as connection:
            return int(connection.execute(sa.select(sa.func.max(events.c.id)).where(self.mine(events))).scalar() or 0)

    def _add(
        self, connection: sa.Connection, submission: Submission, analysis: Analysis | None, encoder_id: str, actor: str
    ) -> tuple[int, Outcome]:
        known = self._known(connection, submission)
        digest = submission.sha256()
        if known is not None and known.content_sha256 == digest:
            return known.id, "unchanged"
        if analysis is None:  # another process revised it between the look and the write
            raise StoreError(f"{submission.source} {submission.external_id} 刚被其他程序改动，请重试")
        row = {**_row(submission), "content_sha256": digest, "received_sha256": None, "stored_at": now()}
        if known is None:
            number = self.next_number(connection, submissions)
            connection.execute(submissions.insert().values(office_id=self.office_id, id=number, **row))
            self.record(connection, number, "received", actor, {"source": submission.source, **_filed(submission)})
        else:
            number = known.id
            mine = self.mine(submissions), submissions.c.id == number
            connection.execute(submissions.update().where(*mine).values(**row))
            detail = {"before": known.content_sha256, "after": digest, **_filed(submission)}
            self.record(connection, number, "revised", actor, detail)
        self._analysed(connection, number, analysis, encoder_id)
        return number, "new" if known is None else "revised"

    def _analysed(self, connection: sa.Connection, number: int, analysis: Analysis, encoder_id: str) -> None:
        """Put an analysis in place of what there was for this encoder, and say so."""
        for table in (vectors, terms, analyses):
            connection.execute(table.delete().where(self.mine(table), table.c.submission_id == number))
        key = {"office_id": self.office_id, "submission_id": number}
        blob = analysis.vector.astype("<f4").tobytes()
        connection.execute(vectors.insert().values(**key, encoder_id=encoder_id, vector=blob))
        connection.execute(terms.insert().values(**key, words=" ".join(analysis.words)))
        connection.execute(
            analyses.insert().values(
                **key,
                model=analysis.model,
                primary_theme=analysis.primary,
                matter=analysis.matter,
                confidence=analysis.confidence,
                decision=analysis.decision,
                result=json.dumps(analysis.result, ensure_ascii=False),
            )
        )
        detail = {
            "model": analysis.model,
            "encoder": encoder_id,
            "primary": analysis.primary,
            "matter": analysis.matter,
        }
        self.record(connection, number, "analysed", "machine", detail)

    def _known(self, connection: sa.Connection, submission: Submission) -> Any:
        query = sa.select(submissions.c.id, _RECEIVED.label("content_sha256")).where(
            self.mine(submissions),
            submissions.c.source == submission.source,
            submissions.c.external_id == submission.external_id,
        )
        return connection.execute(query).one_or_none()

    def _select(self, condition: sa.ColumnElement[bool], limit: int | None = None) -> Iterator[Stored]:
        query = (
            sa.select(submissions, analyses.c.result, standings.c.theme, standings.c.matter)
            .outerjoin(
                analyses,
                sa.and_(analyses.c.office_id == submissions.c.office_id, analyses.c.submission_id == submissions.c.id),
            )
            .outerjoin(standings, of_submission())
            .where(self.mine(submissions), condition)
            .order_by(submissions.c.id)
            .limit(limit)
        )
        with self.reading() as connection:
            rows = connection.execute(query).mappings().all()
        for row in rows:
            analysis = json.loads(row["result"]) if row["result"] else None
            yield Stored(row["id"], _submission(row), analysis, row["theme"], row["matter"])

    def amend(
        self, connection: sa.Connection, number: int, submission: Submission, analysis: Analysis | None, encoder_id: str
    ) -> None:
        """Replace a submission, and its analysis if there is a new one; what was received stays known by its digest."""
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

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of the database; raises StoreError."""
        with self._errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction that holds the write lock from its beginning; raises StoreError."""
        writer = self._engine.execution_options(minsheng_write=True)
        with self._errors(), writer.begin() as connection:
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
            cause = str(getattr(error, "orig", error))
            damaged = any(sign in cause for sign in ("not a database", "malformed", "no such table", "corrupt"))
            advice = (
                "应为本程序的数据库文件；如已损坏，请从备份恢复" if damaged else "请检查磁盘空间与文件权限，或稍后再试"
            )
            raise StoreError(f"数据库 {self.url} 无法使用：{cause}。{advice}") from error


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise StoreError(f"数据库地址 {url!r} 无法识别，应如 sqlite:///minsheng.db") from error
    if parsed.get_backend_name() != "sqlite":
        raise StoreError(f"数据库地址 {parsed!s} 不受支持：目前只支持 sqlite:///文件路径")
    engine = sa.create_engine(parsed, connect_args={"timeout": 30}, hide_parameters=True)
    if parsed.database in {None, "", ":memory:"}:
        raise StoreError(f"数据库地址 {url!r} 没有文件名，应如 sqlite:///minsheng.db")
    folder = Path(parsed.database or "").parent
    if not folder.is_dir():
        raise StoreError(f"数据库 {url} 所在的目录 {folder} 不存在")

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy's events below begin transactions themselves
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("minsheng_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _upgrade(engine: sa.Engine) -> None:
    """Bring the schema to the newest migration; a no-op where it is there already."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    head = ScriptDirectory.from_config(config).get_current_head()
    with engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() == head:
            return
    with engine.execution_options(minsheng_write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _filed(submission: Submission) -> dict[str, Any]:
    """What statistics count a submission under: in its events, so that a filed figure comes out again."""
    return {
        "received_at": submission.received_at,
        "district": submission.district,
        "sector": submission.submitter.sector,
    }


def _row(submission: Submission) -> dict[str, Any]:
    row = {f.name: getattr(submission, f.name) for f in fields(Submission) if f.name != "submitter"}
    return row | {f"submitter_{name}": value for name, value in asdict(submission.submitter).items()}


def _submission(row: Any) -> Submission:
    own = {f.name: row[f.name] for f in fields(Submission) if f.name != "submitter"}
    return Submission(**own, submitter=Submitter(**{f.name: row[f"submitter_{f.name}"] for f in fields(Submitter)}))


def now() -> str:
    """The time of an event: ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
