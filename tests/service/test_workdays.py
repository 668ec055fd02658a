from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.errors import DataError
from service.settings import ROOT
from service.workdays import Calendar, CalendarEnds, load_calendar, load_limits

SHIPPED = ROOT / "corpora" / "calendar"
CALENDAR = load_calendar(SHIPPED)
HEADER = "from\tto\tkind\tname\n"


def test_the_shipped_years_have_the_working_days_their_papers_say() -> None:
    papers = json.loads((SHIPPED / "meta.json").read_text(encoding="utf-8"))
    assert papers["years"] == sorted(CALENDAR.years)
    for year in papers["years"]:
        days = [date(year, 1, 1) + timedelta(n) for n in range((date(year + 1, 1, 1) - date(year, 1, 1)).days)]
        assert sum(map(CALENDAR.is_workday, days)) == papers["working_days"][str(year)]


@pytest.mark.parametrize(
    ("day", "works"),
    [
        ("2024-02-09", True),  # 除夕 was no holiday that year
        ("2024-02-18", True),  # a Sunday worked in exchange
        ("2024-05-11", True),
        ("2025-01-28", False),
        ("2025-10-08", False),
        ("2026-01-02", False),
        ("2026-02-28", True),
        ("2026-03-07", False),  # a plain Saturday
        ("2026-03-09", True),
    ],
)
def test_single_days(day: str, works: bool) -> None:
    assert CALENDAR.is_workday(date.fromisoformat(day)) is works


def test_a_deadline_jumps_over_a_holiday_and_counts_the_day_worked_for_it() -> None:
    # Friday 13 February 2026: Saturday 14 is worked, 15 to 23 are off.
    assert CALENDAR.after(date(2026, 2, 13), 1) == date(2026, 2, 14)
    assert CALENDAR.after(date(2026, 2, 13), 5) == date(2026, 2, 27)
    assert CALENDAR.after(date(2026, 2, 13), 6) == date(2026, 2, 28)
    assert CALENDAR.after(date(2026, 2, 13), 0) == date(2026, 2, 13)


@given(st.dates(date(2024, 1, 1), date(2026, 6, 30)), st.integers(1, 100))
def test_the_nth_working_day_has_n_working_days_up_to_it(day: date, count: int) -> None:
    due = CALENDAR.after(day, count)
    between = [day + timedelta(n) for n in range(1, (due - day).days + 1)]
    assert CALENDAR.is_workday(due)
    assert sum(map(CALENDAR.is_workday, between)) == count


def test_where_the_calendar_ends_the_year_is_named() -> None:
    with pytest.raises(CalendarEnds, match=r"工作日历中没有 2027 年.*补上 2027.tsv") as caught:
        CALENDAR.after(date(2026, 12, 28), 15)
    assert caught.value.year == 2027
    with pytest.raises(CalendarEnds, match="没有 2026 年"):
        Calendar().after(date(2026, 3, 2), 1)


def test_a_reminder_is_counted_on_where_the_calendar_ends() -> None:
    assert CALENDAR.about(date(2026, 2, 13), 5) == CALENDAR.after(date(2026, 2, 13), 5)
    assert CALENDAR.about(date(2026, 12, 30), 1) == date(2026, 12, 31)
    assert CALENDAR.about(date(2026, 12, 30), 3) == date(2027, 1, 4)  # Friday 1 and Monday 4 January
    assert Calendar().about(date(2026, 3, 6), 1) == date(2026, 3, 9)


def test_the_end_of_the_calendar_is_told_weeks_before() -> None:
    told = "工作日历只到 2026-12-31，此后的办理时限算不出来；请在 corpora/calendar/ 中补上 2027.tsv 后重启"
    assert CALENDAR.advice(date(2026, 11, 15)) is None
    assert [CALENDAR.advice(day) for day in (date(2026, 11, 16), date(2027, 2, 1))] == [told, told]
    assert CALENDAR.advice(date(2024, 12, 31)) is None
    assert "补上 2026.tsv" in (Calendar().advice(date(2026, 3, 2)) or "")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2026-10-01\t2026-10-07\tfree\t国庆", "第 2 行：kind 是 'free'，应为 off、work 之一"),
        ("2026-10-1\t2026-10-07\toff\t国庆", "第 2 行：日期应如 2026-10-01"),
        ("2026-10-07\t2026-10-01\toff\t国庆", "第 2 行：2026-10-07 至 2026-10-01 应先后有序，且都在 2026 年"),
        ("2025-10-01\t2025-10-07\toff\t国庆", "且都在 2026 年"),
        ("2026-10-08\t2026-10-08\twork\t调休", "第 2 行：2026-10-08 是周一至周五，本来就上班"),
        ("2026-10-01\t2026-10-01\toff\t国庆\n2026-10-01\t2026-10-02\toff\t国庆", "第 3 行：2026-10-01 重复"),
    ],
)
def test_a_mistake_in_a_calendar_names_its_line(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "2026.tsv").write_text(HEADER + row + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_calendar(tmp_path)
    assert message in str(caught.value)
    assert "2026.tsv" in str(caught.value)


def test_limits_by_category(tmp_path: Path) -> None:
    assert load_limits(SHIPPED / "limits.tsv") == {"咨询": 5, "求助": 15, "投诉": 15, "举报": 15, "建议": 15, "表扬": 5}
    assert load_limits(tmp_path / "limits.tsv") == {}
    for rows, message in (
        ("咨询\t五", "第 2 行：days 是 '五'，应为 1 至 250 的整数"),
        ("咨询\t0", "days 是 '0'"),
        ("咨询\t5\n咨询\t6", "第 3 行：诉求类型 '咨询' 为空或重复"),
    ):
        (tmp_path / "limits.tsv").write_text(f"category\tdays\n{rows}\n", encoding="utf-8")
        with pytest.raises(DataError) as caught:
            load_limits(tmp_path / "limits.tsv")
        assert message in str(caught.value)
