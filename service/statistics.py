"""Figures of a period (统计): what came in, from whom, about what, and what became of it, as known at a moment.

Everything that can be corrected later (theme, merging, follow-ups, handling) is derived from events up to ``as_of``, so
that a report that was filed comes out the same again.
"""

from __future__ import annotations

import calendar
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from nlp.errors import InputError
from nlp.taxonomy import Taxonomy
from service.dates import CHINA, parse_date
from service.standings import stood
from service.steps import Standing
from service.store import Store, Submitter, now
from service.tables import analyses, events, revisions, submissions
from service.voices import count_voices

UNKNOWN = "不详"
_MONTHS = 12
SUBMITTER = tuple(f"submitter_{field.name}" for field in fields(Submitter))
_FILED = ("source", "received_at", "district", *SUBMITTER)


@dataclass(frozen=True)
class Period:
    """Days, both included; ``month``: a natural month or one with a cut-off day, which knows its neighbours."""

    first: date
    last: date
    month: tuple[int, int] | None = None
    cut_off: int | None = None

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def before(self) -> Period:
        """The period just before it (环比)."""
        if self.month is not None:
            return _month(*_shifted(*self.month, -1), self.cut_off)
        return Period(self.first - (self.last - self.first) - timedelta(days=1), self.first - timedelta(days=1))

    def year_before(self) -> Period:
        """The same period of the year before (同比)."""
        if self.month is not None:
            return _month(self.month[0] - 1, self.month[1], self.cut_off)
        return Period(_year_back(self.first), _year_back(self.last))


def read_period(month: str | None, first: str | None, last: str | None, cut_off: int | None, today: date) -> Period:
    """A period from text: ``month`` (2024-05) with or without a cut-off day, or ``first`` to ``last``.

    The default is this month. With cut-off day 25, May is 26 April to 25 May. Raises InputError naming the field.
    """
    if (first is None) != (last is None):
        raise InputError("missing_field", "to" if last is None else "from", "from 与 to 须同时给出")
    if first is not None and last is not None:
        if month is not None:
            raise InputError("invalid_value", "month", "month 与 from、to 不能同时给出")
        begin, end = _day("from", first), _day("to", last)
        if begin > end:
            raise InputError("invalid_value", "to", f"不能早于 from（{begin}）")
        return Period(begin, end)
    if month is None:
        return _month(today.year, today.month, cut_off)
    try:
        found = datetime.strptime(month.strip(), "%Y-%m").replace(tzinfo=CHINA)
    except ValueError as error:
        raise InputError("invalid_value", "month", f"月份无法识别：{month[:40]!r}，应如 2024-05") from error
    return _month(found.year, found.month, cut_off)


def read_moment(text: str | None) -> datetime:
    """The moment as of which things are told: a day means its end; never later than now. Raises InputError."""
    present = datetime.fromisoformat(now())
    if text is None:
        return present
    try:
        found = datetime.fromisoformat(parse_date(text) or "")
    except (InputError, ValueError) as error:
        raise InputError("invalid_value", "as_of", f"日期无法识别：{text[:40]!r}，应如 2024-05-31") from error
    if not any(mark in text for mark in ":：时点T"):
        found += timedelta(days=1) - timedelta(seconds=1)
    return min(found.astimezone(UTC), present)


def _month(year: int, month: int, cut_off: int | None) -> Period:
    if not 1 < year < 9999:
        raise InputError("invalid_value", "month", f"年份 {year} 超出范围")
    if cut_off is None:
        return Period(date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1]), (year, month))
    earlier = _shifted(year, month, -1)
    return Period(date(*earlier, cut_off) + timedelta(days=1), date(year, month, cut_off), (year, month), cut_off)


def _shifted(year: int, month: int, months: int) -> tuple[int, int]:
    whole = year * 12 + month - 1 + months
    return whole // 12, whole % 12 + 1


def _year_back(day: date) -> date:
    return day.replace(year=day.year - 1, day=28 if (day.month, day.day) == (2, 29) else day.day)


def _day(name: str, text: str) -> date:
    try:
        return datetime.fromisoformat(parse_date(text) or "").astimezone(CHINA).date()
    except (InputError, ValueError) as error:
        raise InputError("invalid_value", name, f"日期无法识别：{text[:40]!r}，应如 2024-05-31") from error


@dataclass(frozen=True)
class Fact:
    """A submission as known at a moment. ``day``: of receipt, in China; ``case``, ``follows``: what it was put to.

    ``district``: its own, else the one that its text names (``by_text``).
    """

    id: int
    day: date | None
    source: str
    district: str
    sector: str
    submitter: Submitter
    theme: str
    matter: str
    case: int | None = None
    follows: int | None = None
    by_text: bool = False


def facts(store: Store, as_of: datetime) -> list[Fact]:
    """All submissions that were stored by then and neither withdrawn nor erased, as known then, by number."""
    until = _text(as_of)
    with store.reading() as connection:
        steps = _steps(store, connection, until)
        held = contents(store, connection, until, _FILED)
        query = sa.select(analyses.c.submission_id, analyses.c.primary_theme, analyses.c.matter, analyses.c.district)
        judged = {row.submission_id: row for row in connection.execute(query.where(store.mine(analyses)))}
    there = (number for number in sorted(held) if number in steps and not steps[number].withdrawn)
    return [_fact(number, held[number], judged.get(number), steps[number]) for number in there]


def contents(
    store: Store, connection: sa.Connection, until: str, names: Sequence[str]
) -> dict[int, Mapping[str, Any]]:  # fmt: skip
    """The named columns of each submission as they were at a moment (ISO 8601, UTC), by number."""
    query = sa.select(submissions.c.id, *(submissions.c[name] for name in names)).where(store.mine(submissions))
    found: dict[int, Mapping[str, Any]] = {row["id"]: dict(row) for row in connection.execute(query).mappings()}
    later = sa.select(revisions.c.submission_id, revisions.c.content).where(
        store.mine(revisions), revisions.c.replaced_at > until
    )
    # The first of those replaced later is the one that held at the time, so that it is read last.
    for row in connection.execute(later.order_by(revisions.c.submission_id, revisions.c.id.desc())):
        found[row.submission_id] = json.loads(row.content)
    return found


def submitter_of(content: Mapping[str, Any]) -> Submitter:
    """The submitter that a submission's columns tell of."""
    return Submitter(**{name.removeprefix("submitter_"): content[name] for name in SUBMITTER})


def _text(moment: datetime) -> str:
    """As events write it."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


@dataclass
class _Steps:
    """What the events of a submission say, the last word of each kind; ``filed`` None: not said at that time."""

    filed: Mapping[str, str | None] | None = None
    analysed: Mapping[str, Any] = field(default_factory=dict)
    theme: str | None = None
    matter: str | None = None
    case: int | None = None
    follows: int | None = None
    by_hand: bool = False
    withdrawn: bool = False


def _steps(store: Store, connection: sa.Connection, until: str) -> dict[int, _Steps]:
    kinds = ("received", "revised", "analysed", "corrected", "merged", "unmerged", "follows", "unfollowed",
             "withdrawn", "restored", "erased")  # fmt: skip
    query = sa.select(events.c.submission_id, events.c.kind, events.c.detail).where(
        store.mine(events), events.c.kind.in_(kinds), events.c.at <= until
    )
    found: dict[int, _Steps] = {}
    for number, kind, text in connection.execute(query.order_by(events.c.id)):
        if kind == "received":
            found[number] = _Steps()
        if number in found:
            _step(found[number], kind, json.loads(text))
    return found


def _step(steps: _Steps, kind: str, detail: Mapping[str, Any]) -> None:
    if kind in {"received", "revised"}:
        steps.filed = detail if "received_at" in detail else None
    elif kind == "corrected":
        steps.theme, steps.matter = detail.get("theme", steps.theme), detail.get("matter", steps.matter)
        steps.by_hand = steps.by_hand or "theme" in detail
    elif kind == "analysed":
        steps.analysed = detail
        if not steps.by_hand:  # what people decided outranks a later analysis
            steps.theme, steps.matter = detail.get("primary", steps.theme), detail.get("matter", steps.matter)
    elif kind in {"withdrawn", "restored", "erased"}:
        steps.withdrawn = kind != "restored"
    elif kind in {"merged", "unmerged"}:
        steps.case = detail["case"] if kind == "merged" else None
    elif kind in {"follows", "unfollowed"}:
        steps.follows = detail["earlier"] if kind == "follows" else None


def _fact(number: int, own: Mapping[str, Any], judged: Any, steps: _Steps) -> Fact:
    filed = steps.filed or {**own, "sector": own["submitter_sector"]}
    day = datetime.fromisoformat(filed["received_at"]).astimezone(CHINA).date() if filed["received_at"] else None
    theme, matter, named = (judged.primary_theme, judged.matter, judged.district) if judged else (None, None, None)
    named = steps.analysed.get("district", named)
    return Fact(
        number, day, own["source"], filed["district"] or named or UNKNOWN, filed["sector"] or UNKNOWN,
        submitter_of(own), steps.theme or theme or UNKNOWN, steps.matter or matter or UNKNOWN, steps.case,
        steps.follows, bool(named and not filed["district"]),
    )  # fmt: skip


def distinct(items: Sequence[Fact]) -> int:
    """De-duplicated count: a case counts once, follow-ups not at all."""
    own = [item for item in items if item.follows is None]
    return len({item.case for item in own if item.case is not None}) + sum(item.case is None for item in own)


@dataclass(frozen=True)
class Totals:
    """Raw and de-duplicated counts, and distinct submitters, of a period."""

    submissions: int
    distinct: int
    voices: int


def totals(items: Sequence[Fact]) -> Totals:
    """The totals of submissions."""
    return Totals(len(items), distinct(items), count_voices(item.submitter for item in items))


@dataclass(frozen=True)
class Table:
    """Counts of two kinds of label: ``counts[i][j]`` is of ``rows[i]`` and ``columns[j]``."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def table(pairs: Sequence[tuple[str, str]], columns: Sequence[str] | None = None) -> Table:
    """A table of (row, column) pairs: rows by frequency, columns as given or by frequency; ties by label."""
    cells = Counter(pairs)
    rows = _by_frequency(row for row, _ in pairs)
    across = tuple(columns) if columns is not None else _by_frequency(column for _, column in pairs)
    return Table(rows, across, tuple(tuple(cells[row, column] for column in across) for row in rows))


def _by_frequency(labels: Any) -> tuple[str, ...]:
    counts = Counter(labels)
    return tuple(sorted(counts, key=lambda label: (-counts[label], label)))


@dataclass(frozen=True)
class Statistics:
    """The figures of a period; ``notes``: what is missing or to be read with care."""

    as_of: datetime
    period: Period
    now: Totals
    before: Totals
    year_before: Totals
    undated: int
    tables: Mapping[str, Table]
    adoption: Mapping[str, int]
    satisfaction: Mapping[str, int]
    sectors: Mapping[str, Totals]
    notes: tuple[str, ...] = field(default=())


def statistics(store: Store, taxonomy: Taxonomy, period: Period, as_of: datetime) -> Statistics:
    """All figures of a period, as known at ``as_of``."""
    everything = [_named(item, taxonomy) for item in facts(store, as_of)]
    dated = [item for item in everything if item.day is not None]
    inside, before, earlier = (
        [item for item in dated if item.day is not None and item.day in span]
        for span in (period, period.before(), period.year_before())
    )
    handled = _handled(store, as_of)
    known = {item.id: handled[item.id] for item in inside if item.id in handled}
    months = _months(period)
    year = [item for item in dated if f"{item.day:%Y-%m}" in months]
    return Statistics(
        as_of, period, totals(inside), totals(before), totals(earlier), len(everything) - len(dated),
        {
            "theme_month": table([(item.theme, f"{item.day:%Y-%m}") for item in year], months),
            "matter_month": table([(item.matter, f"{item.day:%Y-%m}") for item in year], months),
            "district_theme": table([(item.district, item.theme) for item in inside]),
            "unit_state": table([(s.lead_unit or "未定", s.state) for s in known.values()]),
        },
        Counter(s.adoption or UNKNOWN for s in known.values()),
        Counter(s.satisfaction or UNKNOWN for s in known.values()),
        {sector: totals([item for item in inside if item.sector == sector])
         for sector in _by_frequency(item.sector for item in inside)},
        tuple(_notes(everything, inside, known, period, as_of)),
    )  # fmt: skip


def _handled(store: Store, as_of: datetime) -> dict[int, Standing]:
    """Where submissions stood, of those that somebody had taken up: the others tell nothing of the handling."""
    with store.reading() as connection:
        return {n: standing for n, standing in stood(connection, store.office_id, _text(as_of)) if standing.number}


def _named(item: Fact, taxonomy: Taxonomy) -> Fact:
    theme, matter = taxonomy.theme_by_id.get(item.theme), taxonomy.matter_by_id.get(item.matter)
    return replace(item, theme=theme.name if theme else item.theme, matter=matter.name if matter else item.matter)


def _months(period: Period) -> list[str]:
    """The twelve months up to the end of the period, more where the period is longer."""
    last = (period.last.year, period.last.month)
    months = (period.last.year - period.first.year) * 12 + period.last.month - period.first.month + 1
    return [f"{y:04}-{m:02}" for y, m in (_shifted(*last, -i) for i in range(max(_MONTHS, months) - 1, -1, -1))]


def _notes(
    everything: Sequence[Fact], inside: Sequence[Fact], known: Mapping[int, Standing], period: Period, as_of: datetime
) -> list[str]:
    today = as_of.astimezone(CHINA).date()
    undated = sum(item.day is None for item in everything)
    future = sum(item.day is not None and item.day > today for item in everything)
    notes = []
    if not everything:
        notes.append("还没有登记任何材料。")
    elif not inside:
        notes.append(f"{period.first} 至 {period.last} 没有收到材料。")
    if undated:
        notes.append(f"{undated} 件没有收到日期，不计入任何时期。")
    if future:
        notes.append(f"{future} 件的收到日期晚于 {today}，请核对。")
    by_text = sum(item.by_text for item in inside)
    if by_text:
        notes.append(f"{by_text} 件没有填写区县，由正文识别。")
    if inside and not known:
        notes.append("没有办理记录，单位、采用与满意度无从统计。")
    return notes
