"""Working days: weekdays but for public holidays, and the weekend days worked in exchange (调休).

``corpora/calendar/<year>.tsv`` holds one year; ``limits.tsv`` the working days within which a category is dealt with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from nlp.errors import DataError, MinshengError
from nlp.lexicon import rows

_COLUMNS = ("from", "to", "kind", "name")
_KINDS = ("off", "work")
_DAY = timedelta(days=1)
_SATURDAY = 5
MAX_DAYS = 250
# Days before the calendar ends from which on that is told: the next year's holidays are known by then.
_AHEAD = 45


class CalendarEnds(MinshengError):
    """A deadline lies in a year, or is counted through one, of which the calendar knows nothing; ``year`` is that."""

    def __init__(self, year: int) -> None:
        super().__init__(f"工作日历中没有 {year} 年，算不出办理时限；请在 corpora/calendar/ 中补上 {year}.tsv 后重启")
        self.year = year


@dataclass(frozen=True)
class Calendar:
    """``years``: those it knows; ``off`` and ``work``: the days that differ from what their weekday says."""

    years: frozenset[int] = frozenset()
    off: frozenset[date] = frozenset()
    work: frozenset[date] = frozenset()

    def is_workday(self, day: date) -> bool:
        """Whether people work on this day; raises CalendarEnds."""
        if day.year not in self.years:
            raise CalendarEnds(day.year)
        return self._is_worked(day)

    def after(self, day: date, count: int) -> date:
        """The ``count``-th (≥ 0) working day after ``day``, which itself does not count; raises CalendarEnds."""
        return _nth(day, count, self.is_workday)

    def about(self, day: date, count: int) -> date:
        """As ``after``, where the calendar ends weekdays are taken to be worked: to remind by, never to set a limit."""
        return _nth(day, count, self._is_worked)

    def advice(self, today: date) -> str | None:
        """What to tell the user where the calendar ends soon, or has ended; None where all is well."""
        year = today.year
        while year in self.years:
            year += 1
        last = date(year, 1, 1) - _DAY
        if last - today > _DAY * _AHEAD:
            return None
        return f"工作日历只到 {last}，此后的办理时限算不出来；请在 corpora/calendar/ 中补上 {year}.tsv 后重启"

    def _is_worked(self, day: date) -> bool:
        return day in self.work or (day.weekday() < _SATURDAY and day not in self.off)


def _nth(day: date, count: int, is_worked: Callable[[date], bool]) -> date:
    while count > 0:
        day += _DAY
        count -= is_worked(day)
    return day


def load_calendar(folder: Path) -> Calendar:
    """The calendar of all ``<year>.tsv`` in a folder (none: it knows no year); raises DataError with file and line."""
    years: set[int] = set()
    days: dict[str, set[date]] = {kind: set() for kind in _KINDS}
    for path in sorted(folder.glob("[0-9][0-9][0-9][0-9].tsv")):
        years.add(int(path.stem))
        for line, row in rows(path, _COLUMNS):
            if row["kind"] not in days:
                raise DataError(path, f"kind 是 {row['kind']!r}，应为 {'、'.join(_KINDS)} 之一", line)
            for day in _span(path, line, row):
                if row["kind"] == "work" and day.weekday() < _SATURDAY:
                    raise DataError(path, f"{day} 是周一至周五，本来就上班，不应列为 work", line)
                if day in days["off"] | days["work"]:
                    raise DataError(path, f"{day} 重复", line)
                days[row["kind"]].add(day)
    return Calendar(frozenset(years), frozenset(days["off"]), frozenset(days["work"]))


def _span(path: Path, line: int, row: dict[str, str]) -> list[date]:
    try:
        first, last = (date.fromisoformat(row[name]) for name in ("from", "to"))
    except ValueError as error:
        raise DataError(path, f"日期应如 2026-10-01：{error}", line) from error
    if not (first <= last and first.year == last.year == int(path.stem)):
        raise DataError(path, f"{first} 至 {last} 应先后有序，且都在 {path.stem} 年", line)
    return [first + _DAY * n for n in range((last - first).days + 1)]


def load_limits(path: Path) -> dict[str, int]:
    """Category (诉求类型) → working days; none where there is no such file; raises DataError with file and line."""
    limits: dict[str, int] = {}
    for line, row in rows(path, ("category", "days")) if path.exists() else ():
        days = row["days"]
        if not (days.isascii() and days.isdigit() and 1 <= int(days) <= MAX_DAYS):
            raise DataError(path, f"days 是 {days!r}，应为 1 至 {MAX_DAYS} 的整数", line)
        if not row["category"] or row["category"] in limits:
            raise DataError(path, f"诉求类型 {row['category']!r} 为空或重复", line)
        limits[row["category"]] = int(days)
    return limits
