"""Past research and proposals, and the tasks of a year (重点任务): what a topic is held against.

They are analysed like submissions, so that a topic can be compared with them, but stand in a table of their own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import sqlalchemy as sa

from nlp.contracts import FloatArray
from nlp.errors import InputError
from nlp.normalise import validate
from nlp.themes import search_terms
from service.engine import Analysed, Engine
from service.sheets import Row
from service.store import Outcome, Store, now
from service.tables import works

Kind = Literal["research", "priority"]
KINDS: dict[str, Kind] = {"research": "research", "priorities": "priority"}
_HEADERS = {
    "title": ("title", "标题", "题目", "课题", "课题名称", "提案标题", "案由", "名称", "任务", "重点任务", "任务名称"),
    "abstract": ("abstract", "摘要", "内容摘要", "主要内容", "内容", "简介", "正文", "说明"),
    "year": ("year", "年份", "年度", "年"),
    "status": ("status", "状态", "进展", "办理情况", "结果"),
}
# The columns of a file, and the one it needs.
COLUMNS = (_HEADERS, ("title", "标题"))
_MAX_STATUS = 100
_YEARS = (1949, 2100)
_BATCH = 32


@dataclass(frozen=True)
class Work:
    """A piece of research or a proposal, or a task of a year. ``year`` None: not known."""

    kind: Kind
    title: str
    abstract: str = ""
    year: int | None = None
    status: str | None = None

    def digest(self) -> str:
        """Identity within its kind: title and year."""
        return hashlib.sha256(json.dumps([self.title, self.year]).encode()).hexdigest()

    def sha256(self) -> str:
        """Of everything imported: equal means nothing has changed."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class StoredWork:
    """A stored work with what it is compared by: vector float32 (d,) and words in order."""

    id: int
    work: Work
    vector: FloatArray
    words: list[str]


def to_work(row: Row, mapping: Mapping[str, str], kind: Kind, max_chars: int) -> Work:
    """The work in a row; raises InputError naming the field. A year that is not given stays unknown."""
    if row.problem:
        raise InputError("invalid_value", "row", row.problem)
    cells = {name: row.cells.get(column) for name, column in mapping.items()}
    values = {name: str(cell) if isinstance(cell, int | float) else cell for name, cell in cells.items()}
    title = validate(values.get("title"), "title", max_chars).strip()
    abstract = validate(values.get("abstract"), "abstract", max_chars, required=False).strip()
    status = validate(values.get("status"), "status", _MAX_STATUS, required=False).strip()
    return Work(kind, title, abstract, _year(values.get("year")), status or None)


def _year(value: object) -> int | None:
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    found = re.fullmatch(r"(\d{4})(?:\.0)?\s*(?:年度?|[-/.年].*)?", text)
    year = int(found[1]) if found else 0
    if not _YEARS[0] <= year <= _YEARS[1]:
        raise InputError("invalid_value", "year", f"年份无法识别：{text[:40]!r}，应如 2025")
    return year


class Works:
    """The works of a store. Each call is one transaction; safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def add(self, engine: Engine, batch: Sequence[Work], actor: str) -> Iterator[Outcome | InputError]:
        """Analyse and store works; the outcome of each, or its error, in order. On the encoder's thread only."""
        for start in range(0, len(batch), _BATCH):
            portion = batch[start : start + _BATCH]
            answers = engine.analyse([(w.title if w.abstract else None, w.abstract or w.title) for w in portion])
            encoder_id = engine.models.encoder.encoder_id
            with self.store.writing() as connection:
                outcomes = [
                    answer if isinstance(answer, InputError) else self._put(connection, work, answer, encoder_id, actor)
                    for work, answer in zip(portion, answers, strict=True)
                ]
            yield from outcomes

    def _put(self, connection: sa.Connection, work: Work, answer: Analysed, encoder_id: str, actor: str) -> Outcome:
        mine = self.store.mine(works), works.c.kind == work.kind, works.c.digest == work.digest()
        known = connection.execute(sa.select(works.c.id, works.c.content_sha256, works.c.encoder_id).where(*mine))
        row = known.one_or_none()
        if row is not None and (row.content_sha256, row.encoder_id) == (work.sha256(), encoder_id):
            return "unchanged"
        values = {
            **asdict(work),
            "digest": work.digest(),
            "content_sha256": work.sha256(),
            "encoder_id": encoder_id,
            "vector": answer.encoding.vector.astype("<f4").tobytes(),
            "words": " ".join(search_terms(answer.document)),
            "actor": actor,
            "imported_at": now(),
        }
        if row is not None:
            connection.execute(works.update().where(self.store.mine(works), works.c.id == row.id).values(**values))
            return "revised"
        number = self.store.next_number(connection, works)
        connection.execute(works.insert().values(office_id=self.store.office_id, id=number, **values))
        return "new"

    def all(self, kind: Kind, encoder_id: str) -> list[StoredWork]:
        """All works of a kind that were analysed with this encoder, by number."""
        query = sa.select(works).where(self.store.mine(works), works.c.kind == kind, works.c.encoder_id == encoder_id)
        with self.store.reading() as connection:
            rows = connection.execute(query.order_by(works.c.id)).all()
        return [
            StoredWork(
                row.id,
                Work(kind, row.title, row.abstract, row.year, row.status),
                np.frombuffer(row.vector, dtype="<f4"),
                row.words.split(),
            )
            for row in rows
        ]

    def outdated(self, encoder_id: str) -> int:
        """How many were analysed with another encoder and cannot be compared: they must be imported again."""
        query = sa.select(sa.func.count()).where(self.store.mine(works), works.c.encoder_id != encoder_id)
        with self.store.reading() as connection:
            return int(connection.execute(query).scalar_one())
