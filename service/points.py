"""The table of points, as data with dates: what each kind of event is worth on the day it happened.

``corpora/points/points.tsv``; see its README for the columns and the rules.

    MinshengError
    └── PointsMissing    something happened on a day of which the table says nothing
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path

from nlp.errors import DataError, MinshengError
from nlp.lexicon import rows
from service.fields import ADOPTED_AS, ADOPTED_BY
from service.steps import STEPS

COLUMNS = ("valid_from", "valid_to", "kind", "level", "form", "points", "cap", "joint", "several", "note")
# What points are given for, in the order of reports.
KINDS = ("received", "registered", "issued", "adopted", "instructed", "implemented")
ANY = "*"
_CHOICES = {"kind": KINDS, "joint": ("full", "split"), "several": ("highest", "sum")}
_CENT = Decimal("0.01")
_MOST = Decimal(100_000)
_FOREVER = date.max
_DAY = timedelta(days=1)


class PointsMissing(MinshengError):
    """Something happened before or after all that the table knows of; the message names it and its day."""


@dataclass(frozen=True)
class Rule:
    """One row: valid on the days from ``first`` to ``last``; ``cap``: the most that one person gets by it."""

    line: int
    first: date
    last: date
    kind: str
    level: str
    form: str
    points: Decimal
    cap: Decimal | None
    joint: str
    several: str
    note: str

    def fits(self, level: str, form: str) -> bool:
        """Whether an event of its kind is meant: a level by its first characters, a form as it is."""
        return (self.level == ANY or level.startswith(self.level)) and self.form in {ANY, form}


@dataclass(frozen=True)
class Happening:
    """Something that points may be given for. ``bulletin``: the edited text it happened to, if it did to one.

    ``number``: the submission; ``event``: the number of its event; ``day``: when it happened; ``authors``: among how
    many it is shared.
    """

    number: int
    event: int
    kind: str
    day: date
    level: str = ""
    form: str = ""
    issue: str = ""
    bulletin: int | None = None
    authors: int = 1


@dataclass(frozen=True)
class Entry:
    """What one person gets for a happening: two decimals; ``why``: the row's note, or why it is not the full points."""

    happening: Happening
    points: Decimal
    why: str
    rule: Rule | None


class PointsTable:
    """Rules without gaps and overlaps; ``sha256``: of the file, so that two reports show whether it was the same."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rules = [_rule(path, line, row) for line, row in rows(path, COLUMNS)]
        if not self.rules:
            raise DataError(path, "计分表没有一行")
        _check(path, self.rules)
        self.first = min(rule.first for rule in self.rules)
        self.last = max(rule.last for rule in self.rules)
        self.counted = frozenset(rule.kind for rule in self.rules)
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    def rule(self, happening: Happening) -> Rule | None:
        """The row that says what it is worth, the most particular one; raises PointsMissing."""
        if not self.first <= happening.day <= self.last:
            last = "至今" if self.last == _FOREVER else f"至 {self.last}"
            told = f"{happening.number} 号材料的“{STEPS[happening.kind].name}”（{happening.event} 号记录）"
            raise PointsMissing(f"{told}在 {happening.day}，计分表只有 {self.first} {last}；请在 {self.path} 中补上")
        there = (r for r in self.rules if r.kind == happening.kind and r.first <= happening.day <= r.last)
        fitting = [rule for rule in there if rule.fits(happening.level, happening.form)]
        return max(fitting, key=_particular, default=None)

    def entries(self, happenings: Iterable[Happening]) -> list[Entry]:
        """What one person gets for all that happened to him, by day; raises PointsMissing."""
        ordered = sorted((h for h in happenings if h.kind in self.counted), key=lambda h: (h.day, h.event))
        return _capped(_once([self._worth(happening) for happening in ordered]))

    def _worth(self, happening: Happening) -> Entry:
        rule = self.rule(happening)
        if rule is None:
            what = f"{happening.level or '没有填层级'} {happening.form or '没有填形式'}"
            return Entry(happening, Decimal(0), f"计分表没有这一项（{what}）", None)
        if rule.joint == "full" or happening.authors == 1:
            return Entry(happening, rule.points, rule.note, rule)
        share = (rule.points / happening.authors).quantize(_CENT, ROUND_HALF_UP)
        return Entry(happening, share, f"{rule.note}，{happening.authors} 人平分", rule)


def _particular(rule: Rule) -> tuple[int, bool]:
    return (0 if rule.level == ANY else len(rule.level), rule.form != ANY)


def _once(entries: list[Entry]) -> list[Entry]:
    """The same thing counts once: the repeats of it get nothing, and say why."""
    lost: dict[int, str] = {}
    for highest in (False, True):
        for key in (_by_submission, _by_bulletin):
            best: dict[tuple[object, ...], int] = {}
            for i, entry in enumerate(entries):
                group = key(entry.happening)
                if entry.rule is None or i in lost or group is None or (highest and entry.rule.several == "sum"):
                    continue
                whole = (*group, *_what(entry.happening, highest=highest))
                first = best.setdefault(whole, i)
                if first != i:
                    loser = i if entries[first].points >= entry.points else first
                    best[whole] = i if loser == first else first
                    lost[loser] = "已按最高的一次计" if highest else "同一次，已计过"
    return [replace(e, points=Decimal(0), why=lost[i]) if i in lost else e for i, e in enumerate(entries)]


def _what(happening: Happening, *, highest: bool) -> tuple[object, ...]:
    """What makes two the same: of adoptions without an issue (期号), two of a level and form are one."""
    if highest:
        return (happening.kind,)
    when = happening.issue if happening.kind == "adopted" else happening.day
    return happening.kind, happening.level, happening.form, when


def _by_submission(happening: Happening) -> tuple[object, ...] | None:
    return ("submission", happening.number)


def _by_bulletin(happening: Happening) -> tuple[object, ...] | None:
    return None if happening.bulletin is None else ("bulletin", happening.bulletin)


def _capped(entries: list[Entry]) -> list[Entry]:
    had: dict[int, Decimal] = {}
    found = []
    for entry in entries:
        if entry.rule is not None and entry.rule.cap is not None:
            line = entry.rule.line
            left = entry.rule.cap - had.get(line, Decimal(0))
            if entry.points > left:
                entry = replace(entry, points=left, why=f"{entry.why}，至多 {entry.rule.cap} 分")  # noqa: PLW2901
            had[line] = had.get(line, Decimal(0)) + entry.points
        found.append(entry)
    return found


def _rule(path: Path, line: int, row: dict[str, str]) -> Rule:
    for name, known in _CHOICES.items():
        if row[name] not in known:
            raise DataError(path, f"{name} 是 {row[name]!r}，应为 {'、'.join(known)} 之一", line)
    if row["kind"] == "adopted":
        for name, among in (("level", ADOPTED_BY), ("form", ADOPTED_AS)):
            if row[name] not in {ANY, *among}:
                raise DataError(path, f"采用的 {name} 是 {row[name]!r}，应为 {'、'.join((*among, ANY))} 之一", line)
    elif row["form"] != ANY or (row["kind"] != "instructed" and row["level"] != ANY) or not row["level"]:
        raise DataError(path, f"只有采用分形式、只有采用与批示分层级，其余写 {ANY}", line)
    first = _day(path, line, "valid_from", row["valid_from"])
    last = _day(path, line, "valid_to", row["valid_to"]) if row["valid_to"] else _FOREVER
    if first > last:
        raise DataError(path, f"valid_to {last} 早于 valid_from {first}", line)
    cap = _amount(path, line, "cap", row["cap"]) if row["cap"] else None
    points = _amount(path, line, "points", row["points"])
    kept = ("kind", "level", "form", "joint", "several", "note")
    return Rule(line=line, first=first, last=last, points=points, cap=cap, **{name: row[name] for name in kept})


def _day(path: Path, line: int, name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise DataError(path, f"{name} 是 {text!r}，应如 2026-01-01", line) from error


def _amount(path: Path, line: int, name: str, text: str) -> Decimal:
    try:
        value = Decimal(text)
        if not (value.is_finite() and 0 <= value <= _MOST and value == value.quantize(_CENT)):
            raise InvalidOperation
    except InvalidOperation as error:
        raise DataError(path, f"{name} 是 {text!r}，应为 0 以上、至多两位小数的数", line) from error
    return value


def _check(path: Path, rules: Sequence[Rule]) -> None:
    """No day of an item twice, none left out between its first and last; one ``several`` for a kind at a time."""
    items: dict[tuple[str, ...], list[Rule]] = {}
    for rule in rules:
        items.setdefault((rule.kind, rule.level, rule.form), []).append(rule)
    for (kind, level, form), own in items.items():
        own.sort(key=lambda rule: rule.first)
        for before, after in zip(own, own[1:], strict=False):
            where = f"{kind} {level} {form}：第 {before.line} 行到 {before.last}，第 {after.line} 行从 {after.first} 起"
            if after.first <= before.last:
                raise DataError(path, f"日期重叠：{where}", after.line)
            if after.first != before.last + _DAY:
                raise DataError(path, f"日期中断：{where}，中间没有计分办法", after.line)
    reached = None
    for rule in sorted(rules, key=lambda rule: rule.first):
        if reached is not None and reached.last != _FOREVER and rule.first > reached.last + _DAY:
            told = f"第 {reached.line} 行到 {reached.last} 为止，第 {rule.line} 行从 {rule.first} 起"
            raise DataError(path, f"日期中断：{told}，中间没有计分办法", rule.line)
        reached = rule if reached is None or rule.last > reached.last else reached
    for i, a in enumerate(rules):
        for b in rules[i + 1 :]:
            if a.kind == b.kind and a.several != b.several and a.first <= b.last and b.first <= a.last:
                raise DataError(path, f"第 {a.line}、{b.line} 行都是 {a.kind}，several 不一致", b.line)
