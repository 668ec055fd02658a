"""Replies to submissions: their words, which no event holds, and those that come with a row answered elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from nlp.errors import InputError
from service.store import Answer, Outcome, Store, Submission
from service.tables import events, replies


@dataclass(frozen=True)
class Reply:
    """What the source of a submission says was answered; ``at``: ISO 8601 with offset, None where it says no day."""

    text: str
    at: str | None = None


def keep(store: Store, connection: sa.Connection, number: int, text: str) -> int:
    """Store the words of a reply to a submission; its number, for the event that tells of it."""
    identity = store.next_number(connection, replies)
    row = {"id": identity, "submission_id": number, "text": text, "at": store.now()}
    connection.execute(replies.insert().values(office_id=store.office_id, **row))
    return identity


def last(store: Store, numbers: Sequence[int]) -> dict[int, str]:
    """The last reply to each of those submissions that have one."""
    query = sa.select(replies.c.submission_id, replies.c.text).where(
        store.mine(replies), replies.c.submission_id.in_(numbers)
    )
    with store.reading() as connection:
        return {row.submission_id: row.text for row in connection.execute(query.order_by(replies.c.id))}


def is_news(store: Store, connection: sa.Connection, number: int, reply: Reply | None) -> bool:
    """Whether the source has not said this of the submission before, as the last it said."""
    if reply is None:
        return False
    here = store.mine(events), events.c.submission_id == number, events.c.kind == "replied"
    query = sa.select(events.c.detail).where(*here).order_by(events.c.id.desc()).limit(1)
    told = json.loads(connection.execute(query).scalar_one_or_none() or "{}")
    if not told:
        return True
    words = sa.select(replies.c.text).where(store.mine(replies), replies.c.id == told["reply"])
    before = Reply(connection.execute(words).scalar_one(), told["replied_at"])
    return reply != (before if reply.at else Reply(before.text))


def foresee(store: Store, submission: Submission, reply: Reply | None) -> tuple[int | None, Outcome]:
    """``Store.foresee`` of a submission and the reply that comes with it."""
    number, outcome = store.foresee(submission)
    if number is not None and outcome == "unchanged" and reply is not None:
        with store.reading() as connection:
            outcome = "revised" if is_news(store, connection, number, reply) else outcome
    return number, outcome


def take(
    store: Store, connection: sa.Connection, answers: Sequence[Answer], given: Sequence[Reply | None], actor: str
) -> list[Answer]:
    """Record the replies that came with the rows of a batch, in its transaction; the answers to the rows, in order.

    What had not changed but for its reply is ``revised``.
    """
    done: list[Answer] = []
    for answer, reply in zip(answers, given, strict=True):
        done.append(answer)
        if reply is None or isinstance(answer, InputError) or answer[1] == "erased":
            continue
        number, outcome = answer
        if is_news(store, connection, number, reply):
            detail = {"reply": keep(store, connection, number, reply.text), "replied_at": reply.at}
            store.record(connection, number, "replied", actor, detail)
            done[-1] = number, "revised" if outcome == "unchanged" else outcome
    return done
