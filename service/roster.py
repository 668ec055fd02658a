"""The roster of 委员 and units: read from a file, told apart, kept with what was known when; and whose a submission is.

A roster that takes the place of another comes whole or not at all, as half a roster ranks people wrongly (``keep``);
people may be added row by row (``add``).

    MinshengError
    └── RosterError    a roster that cannot be used; ``problems`` names each row at fault
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from itertools import combinations
from typing import Literal

import sqlalchemy as sa

from nlp.errors import InputError, MinshengError
from nlp.normalise import validate
from service.audit import record as audited
from service.cases import signed
from service.columns import guess_columns
from service.dates import CHINA, parse_date
from service.intake import Rejected, read
from service.sheets import Row, Sheet, Unreadable
from service.store import Outcome, Store, Submitter
from service.tables import members
from service.voices import PUBLIC_KINDS

Kind = Literal["委员", "单位"]
# The number of a person in the roster, and what became of the row.
Placed = tuple[int, Outcome]
KINDS: tuple[Kind, ...] = ("委员", "单位")
# Field → headers of a roster file.
HEADERS: dict[str, tuple[str, ...]] = {
    "name": ("姓名/单位名称", "姓名", "单位名称", "名称", "委员姓名", "name"),
    "category": ("类别", "category"),
    "sector": ("界别", "sector"),
    "party": ("党派", "party"),
    "committee": ("专委会", "专门委员会", "所属专委会", "committee"),
    "term": ("届次", "term"),
    "code": ("编号", "委员编号", "委员证号", "code"),
    "first_day": ("任职起", "起始日期", "first_day"),
    "last_day": ("任职止", "截止日期", "last_day"),
}
_LIMITS = {"name": 100, "category": 50, "sector": 50, "party": 50, "committee": 50, "term": 50, "code": 50}
_UNIT_WORDS = ("单位", "党派", "团体", "专委会", "机关", "组织", "企业")
_SHOWN = 10
_AND_OTHERS = re.compile(r"等(?:\d+|[一二三四五六七八九十]+)?(?:人|位|名)?(?:委员|同志)?$")


class RosterError(MinshengError):
    """A roster that cannot be used; ``problems``: what is wrong, row by row."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = f"；另有 {len(problems) - _SHOWN} 处" if len(problems) > _SHOWN else ""
        super().__init__(f"名册没有导入：{'；'.join(problems[:_SHOWN])}{more}")
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Person:
    """A 委员 or unit in one term (届次). Fields not known are ""; days are ISO 8601, "" where there is no bound."""

    kind: str
    name: str
    code: str = ""
    category: str = ""
    sector: str = ""
    party: str = ""
    committee: str = ""
    term: str = ""
    first_day: str = ""
    last_day: str = ""

    def serves(self, first: str, last: str) -> bool:
        """Whether on any of these days (ISO 8601, both included)."""
        return (not self.first_day or self.first_day <= last) and (not self.last_day or self.last_day >= first)


@dataclass(frozen=True)
class Member:
    """A person of the roster and his number there."""

    id: int
    person: Person


@dataclass(frozen=True)
class Credit:
    """Whose a submission is: ``members``; or, where a person has to decide, why (``doubt``) and who it may be."""

    members: tuple[int, ...] = ()
    doubt: str | None = None
    candidates: tuple[int, ...] = ()
    unlisted: tuple[str, ...] = ()


def plain(name: str) -> str:
    """A name as it is compared: full-width forms and blanks (张　三) made alike."""
    return "".join(unicodedata.normalize("NFKC", name).split())


def read_sheet(name: str, content: bytes, given: Collection[str] = ()) -> Sheet:
    """The rows of a roster file, under the line that has the ``given`` columns, or one of names; raises IntakeError."""
    if given:
        return read(name, content, given)
    sheets = (read(name, content, (header,)) for header in HEADERS["name"])
    named = (sheet for sheet in sheets if any("".join(c.split()) in HEADERS["name"] for c in sheet.columns))
    return next(named, None) or read(name, content)


def understand(
    sheet: Sheet, given: Mapping[str, str], term: str | None = None
) -> tuple[list[tuple[Row, Person]], list[Rejected]]:
    """The people of a file, and the rows that name nobody or that nothing tells apart, each in order.

    ``given``: columns named by hand; ``term``: of rows that name none. Raises IntakeError, or InputError (term).
    """
    validate(term, "term", _LIMITS["term"], required=False)
    mapping = guess_columns(sheet.columns, given, HEADERS, ("name", "姓名或单位名称")) if sheet.columns else {}
    found: list[tuple[Row, Person]] = []
    bad: list[Rejected] = []
    for row in sheet.rows:
        try:
            found.append((row, _person(row, mapping, term)))
        except InputError as error:
            bad.append(Rejected(row, error.field, error.detail))
    alike = _alike([(row.number, person) for row, person in found])
    bad += [Rejected(row, *alike[row.number]) for row, _ in found if row.number in alike]
    return [one for one in found if one[0].number not in alike], sorted(bad, key=lambda one: one.row.number)


def read_roster(sheet: Sheet, term: str | None = None) -> list[Person]:
    """The people of a file that leaves no doubt, in its order; raises RosterError naming all rows, or IntakeError."""
    good, bad = understand(sheet, {}, term)
    if bad:
        raise RosterError([f"第 {one.row.number} 行：{one.field}：{one.detail}" for one in bad])
    return [person for _, person in good]


def _person(row: Row, mapping: Mapping[str, str], term: str | None) -> Person:
    if row.problem:
        raise InputError("invalid_value", "row", row.problem)
    cells = {name: row.cells.get(column) for name, column in mapping.items()}
    texts = {name: _text(name, cells.get(name)) for name in _LIMITS}
    name = plain(validate(texts["name"], "name", _LIMITS["name"]))
    days = {field: _day(field, cells.get(field)) for field in ("first_day", "last_day")}
    if days["first_day"] and days["last_day"] and days["first_day"] > days["last_day"]:
        raise InputError("invalid_value", "last_day", f"{days['last_day']} 早于任职起 {days['first_day']}")
    unit = mapping["name"] == "单位名称" or any(word in texts["category"] for word in _UNIT_WORDS)
    own = {**texts, "name": name, "term": texts["term"] or term or ""}
    return Person(kind="单位" if unit else "委员", **own, **days)


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Unreadable):
        raise InputError("invalid_value", name, value.reason)
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return validate(text.strip(), name, _LIMITS[name], required=False)


def _day(field: str, value: object) -> str:
    try:
        moment = parse_date(value)
    except InputError as error:
        raise InputError("invalid_value", field, error.detail) from error
    return "" if moment is None else datetime.fromisoformat(moment).astimezone(CHINA).date().isoformat()


def _alike(found: Sequence[tuple[int, Person]]) -> dict[int, tuple[str, str]]:
    """Row number → field and detail, of rows that nothing tells apart, or that have one number (编号) twice."""
    named: dict[tuple[str, str], list[tuple[int, Person]]] = {}
    coded: dict[tuple[str, str, str], list[int]] = {}
    for number, person in found:
        named.setdefault((person.term, person.name), []).append((number, person))
        if person.code:
            coded.setdefault((person.term, person.kind, person.code), []).append(number)
    problems: dict[int, tuple[str, str]] = {}
    for (_, name), people in named.items():
        for (first, a), (second, b) in combinations(people, 2):
            if not any(x and y and x != y for x, y in ((a.code, b.code), (a.sector, b.sector), (a.kind, b.kind))):
                for own, other in ((first, second), (second, first)):
                    told = f"与第 {other} 行同名“{name}”，编号与界别都分不开，请补编号或界别"
                    problems.setdefault(own, ("name", told))
    for (_, _, code), numbers in coded.items():
        for own in numbers:
            others = "、".join(str(other) for other in numbers if other != own)
            if others:
                problems.setdefault(own, ("code", f"编号 {code} 与第 {others} 行重复"))
    return problems


def keep(store: Store, people: Sequence[Person], actor: str, reason: str, *, replace: bool = False) -> dict[str, int]:
    """Bring the roster up to a file, in one transaction: counts of new, revised, unchanged and ended.

    ``replace``: those of the file's terms who are not in it end. Raises InputError, and RosterError where a row fits
    several people that are there.
    """
    actor, reason = signed(actor, reason)
    with store.writing() as connection:
        before = _load(store, connection, members.c.until.is_(None))
        placed = _place(store, connection, before, people)
        problems = [one.detail for one in placed if isinstance(one, InputError)]
        if problems:
            raise RosterError(problems)
        seen, terms = {number for number, _ in placed}, {person.term for person in people}  # type: ignore[misc]
        gone = [m.id for m in before if replace and m.id not in seen and m.person.term in terms]
        for number in gone:
            _end(store, connection, number, store.now())
        counts = _counted(placed) | {"ended": len(gone)}
        audited(store, connection, actor, "roster", "roster", {**counts, "reason": reason})
    return counts


def add(store: Store, people: Sequence[Person], actor: str) -> list[Outcome | InputError]:
    """Bring the roster up to these people, nobody ends: the outcome of each, or its error, in order."""
    with store.writing() as connection:
        placed = _place(store, connection, _load(store, connection, members.c.until.is_(None)), people)
        audited(store, connection, actor, "roster", "roster", {**_counted(placed), "ended": 0, "reason": "导入名册"})
    return [one if isinstance(one, InputError) else one[1] for one in placed]


def _counted(placed: Sequence[Placed | InputError]) -> dict[str, int]:
    outcomes = [one[1] for one in placed if not isinstance(one, InputError)]
    return {what: outcomes.count(what) for what in ("new", "revised", "unchanged")}


def _place(
    store: Store, connection: sa.Connection, before: Sequence[Member], people: Sequence[Person]
) -> list[Placed | InputError]:
    """Enter people: the number of each and what became of it; an error where it fits several that were there."""
    now, following = store.now(), store.next_number(connection, members)
    known = {member.id: member.person for member in before}
    seen: set[int] = set()
    placed: list[Placed | InputError] = []
    for person in people:
        same = [number for number, old in known.items() if number not in seen and _same(old, person)]
        if len(same) > 1:
            told = f"“{person.name}”与名册中的 {'、'.join(map(str, same))} 号都相符，请补编号"
            placed.append(InputError("invalid_value", "name", told))
            continue
        number = same[0] if same else following
        following += not same
        seen.add(number)
        what: Outcome = "new" if not same else "unchanged" if known[number] == person else "revised"
        if what == "revised":
            _end(store, connection, number, now)
        if what != "unchanged":
            _insert(store, connection, number, person, now)
        placed.append((number, what))
    return placed


def _same(old: Person, new: Person) -> bool:
    """Whether a row of a file is about somebody who is there: by number, else by name and sector."""
    if (old.term, old.kind) != (new.term, new.kind):
        return False
    if old.code and new.code:
        return old.code == new.code
    return old.name == new.name and (not old.sector or not new.sector or old.sector == new.sector)


def _end(store: Store, connection: sa.Connection, number: int, now: str) -> None:
    here = store.mine(members), members.c.id == number, members.c.until.is_(None)
    connection.execute(members.update().where(*here).values(until=now))


def _insert(store: Store, connection: sa.Connection, number: int, person: Person, now: str) -> None:
    query = sa.select(sa.func.coalesce(sa.func.max(members.c.edition), 0) + 1)
    edition = connection.execute(query.where(store.mine(members), members.c.id == number)).scalar_one()
    own = {f.name: getattr(person, f.name) for f in fields(Person)}
    connection.execute(
        members.insert().values(office_id=store.office_id, id=number, edition=edition, since=now, until=None, **own)
    )


def load(store: Store, connection: sa.Connection, as_of: str | None = None) -> list[Member]:
    """The roster now, or as it was known at a moment (ISO 8601, UTC), by number."""
    if as_of is None:
        return _load(store, connection, members.c.until.is_(None))
    still = sa.or_(members.c.until.is_(None), members.c.until > as_of)
    return _load(store, connection, sa.and_(members.c.since <= as_of, still))


def _load(store: Store, connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Member]:
    names = [f.name for f in fields(Person)]
    query = sa.select(members.c.id, *(members.c[name] for name in names))
    rows = connection.execute(query.where(store.mine(members), condition).order_by(members.c.id))
    return [Member(row.id, Person(*(getattr(row, name) for name in names))) for row in rows]


def must_know(store: Store, connection: sa.Connection, numbers: Collection[int]) -> None:
    """Raises InputError where one of the numbers is not in the roster."""
    known = {member.id for member in load(store, connection)}
    unknown = sorted(set(numbers) - known)
    if unknown:
        raise InputError("invalid_value", "persons", f"名册中没有 {'、'.join(map(str, unknown))} 号")


class Roster:
    """Finds whose submissions are. ``members``: those that may be meant, by name as ``plain`` has it."""

    def __init__(self, found: Iterable[Member]) -> None:
        self.members = {member.id: member for member in found}
        self._named: dict[str, list[Member]] = {}
        for member in self.members.values():
            self._named.setdefault(member.person.name, []).append(member)

    def credit(self, submitter: Submitter, day: str) -> Credit:
        """Whose a submission of this day is: never guessed; several names (、) are joint authors."""
        public = submitter.kind in PUBLIC_KINDS
        whole = plain(submitter.name or "")
        if not whole or not (public or self._maybe(whole)):
            return Credit()
        parts = [whole] if whole in self._named else [part for part in re.split(r"[、,;/]", whole) if part]
        found: list[int] = []
        unlisted: list[str] = []
        for part in parts:
            bare = _AND_OTHERS.sub("", part)
            one = self._one(bare, submitter, day, public=public)
            if one.doubt is not None:
                return one
            if bare != part and (one.members or public):
                return Credit((), f"联名人没有写全（{part}）", one.members)
            found += one.members
            unlisted += one.unlisted
        if found and unlisted:
            return Credit((), f"联名人中有不在名册的：{'、'.join(unlisted)}", tuple(found))
        return Credit(tuple(dict.fromkeys(found)), unlisted=tuple(unlisted))

    def _maybe(self, whole: str) -> bool:
        """Whether a name of the roster stands in it."""
        return whole in self._named or any(_bare(part)[0] in self._named for part in re.split(r"[、,;/]", whole))

    def _one(self, part: str, submitter: Submitter, day: str, *, public: bool) -> Credit:
        name, hint = (part, "") if part in self._named else _bare(part)
        told = {plain(value) for value in (submitter.sector, submitter.party, hint) if value}
        there = [m for m in self._named.get(name, ()) if m.person.serves(day, day)]
        if not there:
            return Credit(unlisted=(name,) if public else ())
        ids = tuple(m.id for m in there)
        sector = plain(submitter.sector or "")
        others = {m.id for m in there if sector and m.person.sector and plain(m.person.sector) != sector}
        agreeing = [m for m in there if m.id not in others and told & set(map(plain, astuple(m.person)[2:7]))]
        if len(there) > 1:
            if len(agreeing) == 1:
                return Credit((agreeing[0].id,))
            return Credit((), f"名册中有 {len(there)} 个“{name}”相符", ids)
        [only] = there
        if others:
            return Credit((), f"“{name}”的界别与名册不符（名册：{only.person.sector}）", ids)
        if public or agreeing:
            return Credit(ids)
        return Credit() if submitter.kind else Credit((), f"与名册中的“{name}”同名，没有写明是不是委员", ids)


def _bare(part: str) -> tuple[str, str]:
    """A name and what stands in brackets behind it."""
    match = re.fullmatch(r"(.+?)\((.+)\)", _AND_OTHERS.sub("", part))
    return (match[1], match[2]) if match else (_AND_OTHERS.sub("", part), "")
