"""The date forms an office has → ISO 8601."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timedelta, timezone

from openpyxl.utils.datetime import from_excel

from nlp.errors import InputError

CHINA = timezone(timedelta(hours=8))
_DATE = re.compile(
    r"(?P<year>\d{4})\s*(?:[-/.]\s*(?P<m>\d{1,2})\s*[-/.]\s*(?P<d>\d{1,2})|年\s*(?P<month>\d{1,2})\s*月\s*(?P<day>\d{1,2})\s*[日号])"
    r"\s*(?:[(]?(?:星期|周)[一二三四五六日天][)]?)?\s*"
    r"(?:(?P<half>凌晨|早上|上午|中午|下午|晚上)?\s*"
    r"(?P<hour>\d{1,2})(?:[:时点](?:\s*(?P<minute>\d{1,2})\s*分?(?::?\s*(?P<second>\d{1,2})(?:\.\d+)?\s*秒?)?)?))?"
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?:\.0)?")
_NO_YEAR = re.compile(r"\d{1,2}\s*月\s*\d{1,2}\s*[日号]?.*|\d{1,2}[-/.]\d{1,2}(?:\s+\d{1,2}:.*)?")
_SHORT_YEAR = re.compile(r"\d{2}\s*(?:年\s*\d{1,2}\s*月.*|([-/.])\d{1,2}\1\d{1,2}(?!\d).*)")
# Excel serial dates of 1990 to 2099: a bare year or a running number is no date.
_SERIALS = (32874, 73051)
_AFTERNOON = frozenset({"下午", "晚上"})


def parse_date(value: object, field: str = "received_at") -> str | None:
    """ISO 8601 with offset, None for an empty cell; times without a zone are China's. Raises InputError (``field``).

    A bare number is an Excel serial date (1900 system). What lacks its year, or half of it, is refused, not guessed.
    """
    if value is None or str(value).strip() == "":
        return None
    moment = value if isinstance(value, datetime) else _moment(unicodedata.normalize("NFKC", str(value)).strip(), field)
    return (moment if moment.tzinfo else moment.replace(tzinfo=CHINA)).isoformat(timespec="seconds")


def _moment(text: str, field: str) -> datetime:
    bare = re.fullmatch(r"\d+(?:\.\d+)?", text) and not _NO_YEAR.fullmatch(text)
    found = _number(text) if bare else _written(text)
    if found is not None:
        return found
    advice = "应如 2019/11/10 18:59:24 或 2019年11月10日"
    if _NO_YEAR.fullmatch(text):
        raise _refused(field, text, f"没有年份，{advice}")
    if _SHORT_YEAR.fullmatch(text):
        raise _refused(field, text, f"年份应写四位，{advice}")
    raise _refused(field, text, advice)


def _refused(field: str, text: str, advice: str) -> InputError:
    return InputError("invalid_value", field, f"日期无法识别：{text[:40]!r}，{advice}")


def _number(text: str) -> datetime | None:
    compact = _COMPACT.fullmatch(text)
    if compact:
        return _datetime(*map(int, compact.groups()))
    serial = float(text)
    found = from_excel(serial) if _SERIALS[0] <= serial < _SERIALS[1] else None
    # A day is a binary fraction in Excel: 18:59:24 comes as 18:59:23.999.
    return (found + timedelta(milliseconds=500)).replace(microsecond=0) if isinstance(found, datetime) else None


def _written(text: str) -> datetime | None:
    match = _DATE.fullmatch(text)
    if match is None:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return None
    part = match.groupdict()
    hour = int(part["hour"] or 0)
    if part["half"] in _AFTERNOON and hour < 12:
        hour += 12
    day = int(part["year"]), int(part["m"] or part["month"]), int(part["d"] or part["day"])
    return _datetime(*day, hour, int(part["minute"] or 0), int(part["second"] or 0))


def _datetime(*parts: int) -> datetime | None:
    try:
        return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001  (the zone is added by the caller)
    except ValueError:
        return None
