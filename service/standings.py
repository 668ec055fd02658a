"""The table ``standings``: the fold of each submission's events, kept in the transaction of the event.

A submission without a row stands where it began. ``rebuild`` makes the table again from the events alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from service.steps import FIRST, IDLE, Event, Standing, fold, follow
from service.tables import events, of_submission, registers, standings, submissions

# The columns beside ``standing`` (all of it, as JSON): what lists are filtered by.
_FILTERS = ("state", "number", "lead_unit", "due", "theme", "matter", "corrected")
# As many numbers as go into one query.
_PORTION = 1000
Conditions = Sequence[sa.ColumnElement[bool]]
STATE = sa.func.coalesce(standings.c.state, FIRST)


def keep(connection: sa.Connection, office_id: str, number: int, event: Event) -> None:
    """Bring the standing of a submission up to an event that was just recorded."""
    if event.kind not in IDLE:
        before = load(connection, office_id, [number]).get(number, Standing())
        after = follow(before, event)
        if after != before:
            _save(connection, office_id, number, after)


def load(connection: sa.Connection, office_id: str, numbers: Sequence[int]) -> dict[int, Standing]:
    """The standings of those submissions among ``numbers`` that exist."""
    found: dict[int, Standing] = {}
    for start in range(0, len(numbers), _PORTION):
        query = (
            sa.select(submissions.c.id, standings.c.standing)
            .join_from(submissions, standings, of_submission(standings), isouter=True)
            .where(submissions.c.office_id == office_id, submissions.c.id.in_(numbers[start : start + _PORTION]))
        )
        for number, text in connection.execute(query):
            found[number] = _read(text) if text else Standing()
    return found


def withdrawn(connection: sa.Connection, office_id: str) -> set[int]:
    """Numbers of the withdrawn submissions: they count nowhere."""
    query = sa.select(standings.c.submission_id).where(standings.c.office_id == office_id)
    return set(connection.execute(query.where(standings.c.state == "已撤回")).scalars())


def take_number(connection: sa.Connection, office_id: str, year: int) -> str:
    """The next running number of a year, in the transaction that uses it: one that is undone gives it back."""
    here = registers.c.office_id == office_id, registers.c.year == year
    done = connection.execute(registers.update().where(*here).values(last=registers.c.last + 1))
    if not done.rowcount:
        connection.execute(registers.insert().values(office_id=office_id, year=year, last=1))
    last = connection.execute(sa.select(registers.c.last).where(*here)).scalar_one()
    return f"{year}-{last:06d}"


def told(
    connection: sa.Connection, office_id: str, number: int | None = None, where: Conditions = ()
) -> Iterator[tuple[int, Event]]:
    """(submission, event) by submission and age: of one submission or of all, all events or as ``where`` says."""
    query = sa.select(events).where(events.c.office_id == office_id, *where)
    if number is not None:
        query = query.where(events.c.submission_id == number)
    for row in connection.execute(query.order_by(events.c.submission_id, events.c.id)):
        yield row.submission_id, Event(row.id, row.kind, row.actor, row.at, json.loads(row.detail))


def stood(connection: sa.Connection, office_id: str, until: str | None = None) -> Iterator[tuple[int, Standing]]:
    """(submission, where it stood at a moment: ISO 8601, UTC), by its events alone, of those that had moved by then."""
    where = [events.c.kind.not_in(IDLE), *([] if until is None else [events.c.at <= until])]
    moving = told(connection, office_id, where=where)
    for number, group in groupby(moving, lambda pair: pair[0]):
        standing = fold(event for _, event in group)
        if standing != Standing():
            yield number, standing


def rebuild(connection: sa.Connection, office_id: str) -> int:
    """Make the table again from the events; how many rows it has."""
    connection.execute(standings.delete().where(standings.c.office_id == office_id))
    made = list(stood(connection, office_id))
    for number, standing in made:
        _save(connection, office_id, number, standing)
    return len(made)


def _save(connection: sa.Connection, office_id: str, number: int, standing: Standing) -> None:
    key = standings.c.office_id == office_id, standings.c.submission_id == number
    values: dict[str, Any] = {name: getattr(standing, name) for name in _FILTERS}
    values["standing"] = json.dumps(asdict(standing), ensure_ascii=False)
    if not connection.execute(standings.update().where(*key).values(**values)).rowcount:
        connection.execute(standings.insert().values(office_id=office_id, submission_id=number, **values))


def _read(text: str) -> Standing:
    values: dict[str, Any] = json.loads(text)
    values["parts"] = tuple(tuple(part) for part in values["parts"])
    values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return Standing(**values)
