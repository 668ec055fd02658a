"""Erasure of submissions: all content goes, from the tables and from the files; a tombstone stays.

What stays of one: its number, its source, a digest of its external id (so that no import brings it back) and its
events, which hold no content. In memory, indexes and caches follow the ``erased`` event (see ``Index.follow``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.cases import NotFound, signed
from service.store import Store, tombstone
from service.tables import CONTENT, case_members, cases, events, grades, imports, submissions, topic_members, topics

_KEPT = {"office_id", "id", "source", "external_id", "content_sha256", "title", "text", "stored_at", "erased_at"}
_BLANK = {"title": "", "text": "", "content_sha256": ""} | {c.name: None for c in submissions.c if c.name not in _KEPT}


@dataclass(frozen=True)
class Erased:
    """A submission without content. ``purged``: whether the files of the database are known to be free of it."""

    id: int
    erased_at: str
    purged: bool


def erase(store: Store, numbers: Sequence[int], actor: str, reason: str) -> list[Erased]:
    """Erase submissions in one transaction, then rewrite the database without them; raises InputError or NotFound.

    Of one that is erased already nothing is recorded again, but the files are purged again: to be repeated where
    ``purged`` is False, as it is while another's transaction still reads what was there before.
    """
    actor, reason = signed(actor, reason)
    with store.writing() as connection:
        done = {number: _erase(store, connection, number, actor, reason) for number in numbers}
    # An import leaves a dead row of its file behind.
    purged = store.purge((submissions, events, *CONTENT, topics, imports))
    return [Erased(number, erased_at, purged) for number, erased_at in done.items()]


def _erase(store: Store, connection: sa.Connection, number: int, actor: str, reason: str) -> str:
    here = store.mine(submissions), submissions.c.id == number
    row = connection.execute(sa.select(submissions).where(*here)).one_or_none() if 0 < number < 2**31 else None
    if row is None:
        raise NotFound("id", f"没有编号为 {number} 的材料")
    if row.erased_at is not None:
        return str(row.erased_at)
    _unname(store, connection, number)
    for table in CONTENT:
        connection.execute(table.delete().where(store.mine(table), table.c.submission_id == number))
    connection.execute(grades.delete().where(store.mine(grades), grades.c.other_id == number))
    stone = {"external_id": tombstone(store.office_id, row.source, row.external_id), "erased_at": store.now()}
    connection.execute(submissions.update().where(*here).values(**_BLANK, **stone))
    _blank_events(store, connection, number)
    detail = {"reason": reason, **_hand_over(store, connection, number)}
    store.record(connection, number, "erased", actor, detail)
    return stone["erased_at"]


def _unname(store: Store, connection: sa.Connection, number: int) -> None:
    """A topic's name is made of its submissions' words: that of the topics it was in is made again when next read."""
    inside = store.mine(topic_members), topic_members.c.submission_id == number
    for column in (topic_members.c.topic_id, topic_members.c.broad_id):
        here = store.mine(topics), topics.c.id.in_(sa.select(column).where(*inside))
        connection.execute(topics.update().where(*here).values(name=""))


def _blank_events(store: Store, connection: sa.Connection, number: int) -> None:
    """Events hold no text, but for statistics the submitter's sector: the one thing of an event that ever changes."""
    here = store.mine(events), events.c.submission_id == number, events.c.kind.in_(("received", "revised"))
    for row in connection.execute(sa.select(events.c.id, events.c.detail).where(*here)).all():
        detail = json.loads(row.detail)
        if detail.get("sector"):
            text = json.dumps({**detail, "sector": None}, ensure_ascii=False)
            connection.execute(events.update().where(*here, events.c.id == row.id).values(detail=text))


def _hand_over(store: Store, connection: sa.Connection, number: int) -> dict[str, Any]:
    """The open case that an erased submission stays in, and its lead: another member, where the erased one led.

    A case none of whose members has content left is closed.
    """
    inside = store.mine(case_members), case_members.c.open == 1
    query = sa.select(case_members.c.case_id).where(*inside, case_members.c.submission_id == number)
    case = connection.execute(query).scalar()
    if case is None:
        return {}
    there = sa.select(submissions.c.id).where(store.present())
    members = sa.select(sa.func.min(case_members.c.submission_id)).where(
        *inside, case_members.c.case_id == case, case_members.c.submission_id.in_(there)
    )
    successor = connection.execute(members).scalar()
    here = store.mine(cases), cases.c.id == case
    if successor is None:
        connection.execute(cases.update().where(*here).values(closed_at=store.now()))
        connection.execute(case_members.update().where(*inside, case_members.c.case_id == case).values(open=None))
    else:
        connection.execute(cases.update().where(*here, cases.c.lead_id == number).values(lead_id=successor))
    return {"case": case, "lead": successor}
