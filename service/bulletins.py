"""Edited texts (编发): several submissions joined into one, every save a version, issued under a running number (期号).

What happens to a bulletin is in ``bulletin_events``; that it was issued, withdrawn or adopted is also an event of each
source. All of one step is one transaction. Errors are those of ``service/cases.py`` and ``service/lifecycle.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

import sqlalchemy as sa

from nlp.errors import InputError
from nlp.normalise import MAX_CHARS, validate
from service import standings as kept
from service.cases import Conflict, NotFound, signed
from service.fields import checked
from service.lifecycle import Lifecycle
from service.steps import STEPS, Standing, retracted
from service.store import Stored
from service.tables import bulletin_events, bulletin_versions, bulletins, issue_registers

State = Literal["草稿", "已编发", "已撤回"]
DRAFT, ISSUED, WITHDRAWN = "草稿", "已编发", "已撤回"
SERIES = "社情民意信息"
MAX_SOURCES = 200
MAX_RECIPIENTS = 30
_SERIES_LENGTH = 40
_TITLE_LENGTH = 200
_RECIPIENT_LENGTH = 100
_SENTENCES = re.compile(r"[^。！？；\n]*[。！？；\n]+|[^。！？；\n]+$")


@dataclass(frozen=True)
class Text:
    """What is saved as one version. ``sources``: numbers of submissions, in the order of the text."""

    title: str
    body: str
    recipients: tuple[str, ...]
    sources: tuple[int, ...]


@dataclass(frozen=True)
class Bulletin:
    """A bulletin and its newest text; year, number and day are None until it is issued, and stay when withdrawn."""

    id: int
    series: str
    state: str
    version: int
    year: int | None
    number: int | None
    issued_on: str | None
    text: Text

    @property
    def issue(self) -> str | None:
        """The number as officials write it."""
        return None if self.number is None else f"{self.year}年第{self.number}期"


@dataclass(frozen=True)
class Change:
    """A piece of a text that two versions share or do not: ``op`` is same, removed or added."""

    field: str
    op: Literal["same", "removed", "added"]
    text: str


def read_text(title: object, body: object, recipients: Sequence[object], sources: Sequence[object]) -> Text:
    """A text that may be saved; raises InputError naming the field."""
    if not 1 <= len(sources) <= MAX_SOURCES:
        raise InputError("invalid_value", "sources", f"应有 1 至 {MAX_SOURCES} 件来稿，实有 {len(sources)} 件")
    if len(recipients) > MAX_RECIPIENTS:
        raise InputError("invalid_value", "recipients", f"至多 {MAX_RECIPIENTS} 个报送对象，实有 {len(recipients)} 个")
    numbers: list[int] = []
    for number in sources:
        if type(number) is not int or number in numbers:
            raise InputError("invalid_value", "sources", f"{str(number)[:20]!r} 不是材料编号，或重复")
        numbers.append(number)
    named = [validate(one, "recipients", _RECIPIENT_LENGTH).strip() for one in recipients]
    return Text(
        validate(title, "title", _TITLE_LENGTH).strip(),
        validate(body, "body", MAX_CHARS).strip(),
        tuple(dict.fromkeys(named)),
        tuple(numbers),
    )


def difference(old: Text, new: Text) -> list[Change]:
    """What a version has that another has not, sentence by sentence."""
    found: list[Change] = []
    for field in ("title", "body", "recipients", "sources"):
        a, b = _pieces(getattr(old, field)), _pieces(getattr(new, field))
        for op, a1, a2, b1, b2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            if op == "equal":
                found += [Change(field, "same", piece) for piece in a[a1:a2]]
            else:
                found += [Change(field, "removed", piece) for piece in a[a1:a2]]
                found += [Change(field, "added", piece) for piece in b[b1:b2]]
    return found


def _pieces(value: str | tuple[Any, ...]) -> list[str]:
    return _SENTENCES.findall(value) if isinstance(value, str) else [str(one) for one in value]


class Bulletins:
    """The bulletins of an office. Safe to share between threads."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.lifecycle = lifecycle
        self.store = lifecycle.store

    def create(self, series: str, text: Text, actor: str, reason: str) -> Bulletin:
        """A draft; raises InputError, NotFound or StepRefused where a source is not there or was sent back."""
        actor, reason = signed(actor, reason)
        series = validate(series, "series", _SERIES_LENGTH).strip()
        with self.store.writing() as connection:
            self._usable(connection, text.sources)
            number = self.store.next_number(connection, bulletins)
            row = {"office_id": self.store.office_id, "id": number, "series": series, "state": DRAFT, "version": 1}
            connection.execute(bulletins.insert().values(**row))
            self._save(connection, number, 1, text, "created", actor, reason)
        return self.get(number)

    def save(self, number: int, base: int, text: Text, actor: str, reason: str) -> Bulletin:
        """A new version; ``base``: the version it was made from. Raises Conflict where that is not the newest one."""
        actor, reason = signed(actor, reason)
        with self.store.writing() as connection:
            found = self._open(connection, number, DRAFT, "修改")
            if found.version != base:
                raise Conflict("base", f"编发 {number} 已有第 {found.version} 版，这次改的是第 {base} 版，请合并后再存")
            self._usable(connection, text.sources)
            self._update(connection, number, version=base + 1)
            self._save(connection, number, base + 1, text, "saved", actor, reason)
        return self.get(number)

    def issue(self, number: int, base: int, actor: str, reason: str) -> Bulletin:
        """Issue version ``base`` under the next number of its series and year; an event of each source."""
        actor, reason = signed(actor, reason)
        with self.store.writing() as connection:
            found = self._open(connection, number, DRAFT, "编发")
            if found.version != base:
                raise Conflict("base", f"编发 {number} 已有第 {found.version} 版，要编发的是第 {base} 版，请核对")
            if not found.text.recipients:
                raise InputError("missing_field", "recipients", f"编发 {number} 还没有报送对象")
            today = self.lifecycle.today()
            running = self._take_number(connection, found.series, today.year)
            row = {"state": ISSUED, "year": today.year, "number": running, "issued_on": today.isoformat()}
            self._update(connection, number, **row)
            issue = f"{found.series}{today.year}年第{running}期"
            for source in found.text.sources:
                detail = {"bulletin": number, "issue": issue}
                self.lifecycle.take(connection, source, "issued", actor, reason, detail)
            self._told(connection, number, "issued", actor, {"version": base, "issue": issue, "reason": reason})
        return self.get(number)

    def withdraw(self, number: int, actor: str, reason: str) -> Bulletin:
        """Give up a draft, or withdraw what was issued: its number is not given out again."""
        actor, reason = signed(actor, reason)
        with self.store.writing() as connection:
            found = self._load(connection, number)
            if found.state == WITHDRAWN:
                raise Conflict("id", f"编发 {number} 已经撤回")
            self._update(connection, number, state=WITHDRAWN)
            for source in found.text.sources if found.state == ISSUED else ():
                detail = {"bulletin": number, "issue": f"{found.series}{found.issue}", "reason": reason}
                self.store.record(connection, source, "unissued", actor, detail)
            self._told(connection, number, "withdrawn", actor, {"reason": reason})
        return self.get(number)

    def adopt(self, number: int, given: Mapping[str, Any], actor: str, reason: str) -> tuple[int, ...]:
        """Record once that a bulletin was adopted: an event of each source but those sent back or withdrawn since.

        ``form`` is 综合 where there are several sources, else 单篇, ``issue`` the bulletin's own, unless given. Numbers
        of the sources it was recorded of.
        """
        actor, reason = signed(actor, reason)
        with self.store.writing() as connection:
            found = self._open(connection, number, ISSUED, "采用")
            form = "综合" if len(found.text.sources) > 1 else "单篇"
            usual = {"form": form, "issue": f"{found.series}{found.issue}"}
            fields = checked("adopted", usual | {k: v for k, v in given.items() if v is not None}, (), (), None)
            known = kept.load(connection, self.store.office_id, found.text.sources)
            able = tuple(n for n in found.text.sources if known[n].state in STEPS["adopted"].moves)
            if not able:
                raise Conflict("sources", f"编发 {number} 的来稿都已退回或撤回，没有可以记采用的")
            for source in able:
                self.lifecycle.take(connection, source, "adopted", actor, reason, {**fields, "bulletin": number})
            self._told(connection, number, "adopted", actor, {**fields, "sources": list(able), "reason": reason})
        return able

    def retract(self, number: int, event: int, actor: str, reason: str) -> tuple[int, ...]:
        """Take back an adoption of a bulletin from all its sources; ``event``: the one of any of them."""
        actor, reason = signed(actor, reason)
        with self.store.writing() as connection:
            found = self._load(connection, number)
            sources = sorted({n for text in self._texts(connection, number).values() for n in text.sources})
            told = {n: [e for _, e in kept.told(connection, self.store.office_id, n)] for n in sources}
            mine = {n: [e for e in events if e.kind == "adopted" and e.detail.get("bulletin") == number]
                    for n, events in told.items()}  # fmt: skip
            meant = next((e for events in mine.values() for e in events if e.id == event), None)
            if meant is None:
                raise InputError("invalid_value", "event", f"编发 {found.id} 没有 {event} 号采用记录")
            undone: list[int] = []
            for source in sources:
                gone = retracted(told[source])
                for one in mine[source]:
                    if one.detail == meant.detail and one.at == meant.at and one.id not in gone:
                        self.lifecycle.take(connection, source, "retracted", actor, reason, {"event": one.id})
                        undone.append(source)
            if not undone:
                raise Conflict("event", f"{event} 号记录已经撤销")
            self._told(connection, number, "retracted", actor, {"sources": undone, "event": event, "reason": reason})
        return tuple(undone)

    def get(self, number: int) -> Bulletin:
        """One bulletin; raises NotFound."""
        with self.store.reading() as connection:
            return self._load(connection, number)

    def page(
        self, *, after: int = 0, limit: int = 50, state: str | None = None, series: str | None = None
    ) -> list[Bulletin]:
        """Bulletins numbered above ``after``, ascending."""
        query = sa.select(bulletins.c.id).where(self.store.mine(bulletins), bulletins.c.id > after)
        for column, value in ((bulletins.c.state, state), (bulletins.c.series, series)):
            query = query if value is None else query.where(column == value)
        with self.store.reading() as connection:
            numbers = connection.execute(query.order_by(bulletins.c.id).limit(limit)).scalars().all()
            return [self._load(connection, number) for number in numbers]

    def version(self, number: int, version: int) -> Text:
        """One version of a bulletin; raises NotFound."""
        with self.store.reading() as connection:
            self._load(connection, number)
            texts = self._texts(connection, number)
        if version not in texts:
            raise NotFound("version", f"编发 {number} 没有第 {version} 版，现有 1 至 {max(texts)}")
        return texts[version]

    def materials(self, found: Bulletin) -> list[tuple[Stored, Standing]]:
        """The sources of a bulletin and where they stand, in its order."""
        standings = self.lifecycle.standing(found.text.sources)
        return [(item, standings[item.id]) for item in self.store.get_many(found.text.sources)]

    def history(self, number: int) -> list[dict[str, Any]]:
        """What happened to a bulletin, oldest first; raises NotFound."""
        mine = self.store.mine(bulletin_events), bulletin_events.c.bulletin_id == number
        with self.store.reading() as connection:
            self._load(connection, number)
            rows = connection.execute(sa.select(bulletin_events).where(*mine).order_by(bulletin_events.c.id)).all()
        return [{"kind": r.kind, "actor": r.actor, "at": r.at, "detail": json.loads(r.detail)} for r in rows]

    def _load(self, connection: sa.Connection, number: int) -> Bulletin:
        mine = self.store.mine(bulletins), bulletins.c.id == number
        row = connection.execute(sa.select(bulletins).where(*mine)).one_or_none() if 0 < number < 2**31 else None
        if row is None:
            raise NotFound("id", f"没有编号为 {number} 的编发")
        names = ("id", "series", "state", "version", "year", "number", "issued_on")
        own = {name: getattr(row, name) for name in names}
        return Bulletin(**own, text=self._texts(connection, number)[row.version])

    def _texts(self, connection: sa.Connection, number: int) -> dict[int, Text]:
        mine = self.store.mine(bulletin_versions), bulletin_versions.c.bulletin_id == number
        return {
            row.version: Text(row.title, row.body, tuple(json.loads(row.recipients)), tuple(json.loads(row.sources)))
            for row in connection.execute(sa.select(bulletin_versions).where(*mine))
        }

    def _open(self, connection: sa.Connection, number: int, state: str, what: str) -> Bulletin:
        found = self._load(connection, number)
        if found.state != state:
            raise Conflict("id", f"编发 {number} 现为“{found.state}”，“{state}”的才能{what}")
        return found

    def _usable(self, connection: sa.Connection, sources: Sequence[int]) -> None:
        for source in sources:
            self.lifecycle.must_allow(connection, source, "issued")

    def _take_number(self, connection: sa.Connection, series: str, year: int) -> int:
        """The next number of a series and year, in the transaction that uses it: one that is undone gives it back."""
        t = issue_registers
        here = self.store.mine(t), t.c.series == series, t.c.year == year
        done = connection.execute(t.update().where(*here).values(last=t.c.last + 1))
        if not done.rowcount:
            row = {"office_id": self.store.office_id, "series": series, "year": year, "last": 1}
            connection.execute(t.insert().values(**row))
        return int(connection.execute(sa.select(t.c.last).where(*here)).scalar_one())

    def _update(self, connection: sa.Connection, identity: int, **values: Any) -> None:
        connection.execute(
            bulletins.update().where(self.store.mine(bulletins), bulletins.c.id == identity).values(**values)
        )

    def _save(
        self, connection: sa.Connection, number: int, version: int, text: Text, kind: str, actor: str, reason: str
    ) -> None:
        given = asdict(text).items()
        values = {name: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for name, v in given}
        key = {"office_id": self.store.office_id, "bulletin_id": number, "version": version}
        connection.execute(bulletin_versions.insert().values(**key, **values))
        self._told(connection, number, kind, actor, {"version": version, "reason": reason})

    def _told(self, connection: sa.Connection, number: int, kind: str, actor: str, detail: Mapping[str, Any]) -> None:
        row = {"id": self.store.next_number(connection, bulletin_events), "bulletin_id": number, "kind": kind}
        told = {"actor": actor, "at": self.store.now(), "detail": json.dumps(detail, ensure_ascii=False)}
        connection.execute(bulletin_events.insert().values(office_id=self.store.office_id, **row, **told))
