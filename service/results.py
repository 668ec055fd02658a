"""What came of the submissions of 委员 and units: counts and points of a period, each point with the event it is for.

All of it is derived from events up to a moment (``as_of``), from the roster and from what submissions said of their
submitters at that moment: a filed report comes out the same after later corrections, as long as the table of points
(a file, whose sha256 the report carries) says the same of its days.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import groupby

import sqlalchemy as sa

from nlp.errors import InputError
from nlp.pii import mask
from service import roster
from service import standings as kept
from service.dates import CHINA
from service.fields import ADOPTED_BY
from service.points import Entry, Happening, PointsTable
from service.roster import Credit, Member, Roster, RosterError
from service.statistics import SUBMITTER, contents, submitter_of
from service.steps import OUTCOMES, Event, Standing, follow, retracted
from service.store import Store
from service.tables import events
from service.voices import PUBLIC_KINDS

# What is counted, in the order of reports: name → as officials say.
COUNTS = {"submitted": "提交", "accepted": "受理", "issued": "编发",
          **{f"adopted {level}": f"{level}采用" for level in ADOPTED_BY},
          "instructed": "批示", "implemented": "采纳落实"}  # fmt: skip
BY = {"unit": "单位", "member": "委员", "committee": "专委会", "sector": "界别"}
# Events that results do not depend on.
_UNUSED = ("analysed", "indexed", "merged", "unmerged", "follows", "unfollowed", "noted", "opened")
_PARTICULARS = ("title", "received_at", *SUBMITTER)
_NOWHERE = ("已退回", "已撤回", "已删除")
_GONE = ("已撤回", "已删除")
Tally = Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class Scope:
    """What a report is of: days ``first`` to ``last``, known at ``as_of`` (ISO 8601, UTC), of a term or all (None)."""

    first: date
    last: date
    as_of: str
    term: str | None = None


@dataclass(frozen=True)
class Record:
    """A submission as it was known: ``number`` of the register, whose it is, what happened to it in the period."""

    id: int
    number: str | None
    title: str
    credit: Credit
    submitted: bool
    accepted: bool
    happenings: tuple[Happening, ...]


@dataclass(frozen=True)
class Performance:
    """What one 委员 or unit did: submissions by what came of them, and the points."""

    member: Member
    tally: Tally
    entries: tuple[Entry, ...]

    @property
    def points(self) -> Decimal:
        """The sum of the entries."""
        return sum((entry.points for entry in self.entries), Decimal(0))


@dataclass(frozen=True)
class Place:
    """One line of a ranking; equals share a rank."""

    rank: int
    name: str
    people: int
    tally: Tally
    points: Decimal
    member: int | None = None


@dataclass(frozen=True)
class Results:
    """All of a report. ``everybody``: the tally over all submissions; ``undecided``: for a person to decide."""

    scope: Scope
    table: PointsTable
    everybody: Tally
    performances: tuple[Performance, ...]
    undecided: tuple[Record, ...]
    unlisted: tuple[Record, ...]
    adopted: tuple[tuple[Record, Happening], ...]
    # Of the roster by number, and the register's numbers of submissions.
    names: Mapping[int, str]
    numbers: Mapping[int, str | None]

    def ranking(self, by: str) -> list[Place]:
        """Units, 委员, 专委会 or 界别 by points, then by adoptions and submissions; those with nothing at the end."""
        groups: dict[tuple[str, int | None], list[Performance]] = {}
        for one in self.performances:
            person = one.member.person
            if (person.kind == "单位") != (by == "unit"):
                continue
            own = by in {"unit", "member"}
            key = (person.name, one.member.id) if own else (getattr(person, by) or "（未填）", None)
            groups.setdefault(key, []).append(one)
        lines = [
            (name, member, len(people), _merged(one.tally for one in people), _total(people))
            for (name, member), people in groups.items()
        ]
        lines.sort(key=lambda line: (-line[4], *(-len(line[3][n]) for n in reversed(COUNTS)), line[1] or 0, line[0]))
        worth = [line[4] for line in lines]
        return [
            Place(worth.index(points) + 1, name, people, tally, points, member)
            for name, member, people, tally, points in lines
        ]


def _total(people: Iterable[Performance]) -> Decimal:
    return sum((one.points for one in people), Decimal(0))


def read_scope(store: Store, first: object, last: object, as_of: object = None, term: str | None = None) -> Scope:
    """The scope that is asked for; raises InputError naming the field."""
    days = [_day(name, value) for name, value in (("from", first), ("to", last))]
    if days[0] > days[1]:
        raise InputError("invalid_value", "from", f"{days[0]} 晚于 to {days[1]}，起止日期写反了")
    return Scope(days[0], days[1], _moment(store.now(), as_of), term)


def _day(name: str, value: object) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise InputError("invalid_value", name, f"日期应如 2026-01-01，实为 {str(value)[:40]!r}") from error


def _moment(now: str, value: object) -> str:
    """``value`` in UTC; a day is its end, in China; a time without a zone is China's. Never later than now."""
    if value is None:
        return now
    text = str(value)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        example = "应如 2026-01-05 或 2026-01-05T18:00:00"
        raise InputError("invalid_value", "as_of", f"{example}，实为 {text[:40]!r}") from error
    if len(text) == 10:
        found = datetime.combine(found.date(), time(23, 59, 59))
    found = found if found.tzinfo else found.replace(tzinfo=CHINA)
    today = datetime.fromisoformat(now).astimezone(CHINA)
    if found > today and not (len(text) == 10 and found.date() == today.date()):
        told = f"{text[:40]} 还没有到，现在是 {today.isoformat(timespec='seconds')}"
        raise InputError("invalid_value", "as_of", told)
    return min(found, today).astimezone(datetime.fromisoformat(now).tzinfo).isoformat(timespec="seconds")


def results(store: Store, table: PointsTable, scope: Scope) -> Results:
    """The results of a scope; raises RosterError, PointsMissing or InputError (no such term)."""
    with store.reading() as connection:
        people = roster.load(store, connection, scope.as_of)
        records = list(_records(store, connection, scope, _of_term(people, scope.term)))
    mine: dict[int, list[Record]] = {}
    for record in records:
        for number in record.credit.members:
            mine.setdefault(number, []).append(record)
    period = scope.first.isoformat(), scope.last.isoformat()
    performances = tuple(
        _performance(member, mine.get(member.id, ()), table)
        for member in _of_term(people, scope.term)
        if member.id in mine or member.person.serves(*period)
    )
    return Results(
        scope,
        table,
        _tally(records),
        performances,
        tuple(r for r in records if r.credit.doubt is not None),
        tuple(r for r in records if r.credit.unlisted),
        tuple((r, h) for r in records for h in r.happenings if h.kind == "adopted"),
        {member.id: member.person.name for member in people},
        {record.id: record.number for record in records},
    )


def _of_term(people: Sequence[Member], term: str | None) -> list[Member]:
    if not people:
        raise RosterError(["名册里没有人，请先用 minsheng roster import 导入（as_of 早于导入时也是如此）"])
    found = [member for member in people if term is None or member.person.term == term]
    if not found:
        known = "、".join(sorted({member.person.term or "（未填）" for member in people}))
        raise InputError("invalid_value", "term", f"名册中没有届次 {str(term)[:40]!r}，有：{known}")
    return found


def _performance(member: Member, records: Iterable[Record], table: PointsTable) -> Performance:
    own = list(records)
    return Performance(member, _tally(own), tuple(table.entries(h for record in own for h in record.happenings)))


def _tally(records: Iterable[Record]) -> Tally:
    found: dict[str, set[int]] = {name: set() for name in COUNTS}
    for record in records:
        if record.submitted:
            found["submitted"].add(record.id)
            if record.accepted:
                found["accepted"].add(record.id)
        for one in record.happenings:
            name = f"adopted {one.level}" if one.kind == "adopted" else one.kind
            if name in found:
                found[name].add(record.id)
    return {name: frozenset(numbers) for name, numbers in found.items()}


def _merged(tallies: Iterable[Tally]) -> Tally:
    there = list(tallies)
    return {name: frozenset().union(*(tally[name] for tally in there)) for name in COUNTS}


def _records(store: Store, connection: sa.Connection, scope: Scope, people: Sequence[Member]) -> Iterator[Record]:
    """The submissions to which something happened in the period, by number."""
    known = Roster(people)
    particulars = contents(store, connection, scope.as_of, _PARTICULARS)
    until = events.c.at <= scope.as_of, events.c.kind.not_in(_UNUSED)
    for number, told in groupby(kept.told(connection, store.office_id, where=until), lambda pair: pair[0]):
        history = [event for _, event in told]
        received = next((event for event in history if event.kind == "received"), None)
        if received is None or number not in particulars:
            continue
        own = particulars[number]
        standing, accepted = _stands(history)
        day = _china(own["received_at"] or received.at)
        decided = [event for event in history if event.kind == "credited"]
        credit = (
            Credit(tuple(decided[-1].detail["persons"]))
            if decided
            else known.credit(submitter_of(own), day.isoformat())
        )
        authors = max(1, len(credit.members))
        found = [h for h in _happenings(number, history, authors) if scope.first <= h.day <= scope.last]
        counts = scope.first <= day <= scope.last and standing.state not in _GONE
        if counts:
            found.insert(0, Happening(number, received.id, "received", day, authors=authors))
        if found and accepted:
            opened = next(event for event in history if event.kind == "registered")
            if scope.first <= _china(opened.at) <= scope.last:
                found.insert(1, Happening(number, opened.id, "registered", _china(opened.at), authors=authors))
        if found:
            shown = mask(own["title"], own["submitter_name"], public=own["submitter_kind"] in PUBLIC_KINDS)
            yield Record(number, standing.number, shown, credit, counts, accepted, tuple(found))


def _stands(history: Iterable[Event]) -> tuple[Standing, bool]:
    """Where the events lead, and whether the submission was accepted: registered, and not sent back or withdrawn."""
    standing, back = Standing(), False
    for event in history:
        standing = follow(standing, event)
        if standing.state != "已归档":  # filed as what it was before
            back = standing.state in _NOWHERE
    return standing, standing.number is not None and not back


def _happenings(number: int, history: Sequence[Event], authors: int) -> Iterator[Happening]:
    """What came of a submission and was not taken back."""
    gone = retracted(history)
    withdrawn = {event.detail["bulletin"] for event in history if event.kind == "unissued"}
    for event in history:
        detail = event.detail
        if event.id in gone or (event.kind == "issued" and detail["bulletin"] in withdrawn):
            continue
        if event.kind == "issued" or event.kind in OUTCOMES:
            day = date.fromisoformat(detail["happened_on"]) if detail.get("happened_on") else _china(event.at)
            told = {name: detail.get(name, "") for name in ("level", "form", "issue")}
            yield Happening(number, event.id, event.kind, day, **told, bulletin=detail.get("bulletin"), authors=authors)


def _china(moment: str) -> date:
    return datetime.fromisoformat(moment).astimezone(CHINA).date()
