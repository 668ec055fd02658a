"""Files of submissions → rows → ``Submission``: CSV (UTF-8, BOM, GB18030), XLSX and JSON Lines.

A bad row becomes a ``Rejected`` with its number, field and reason; the good rows go on.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from openpyxl import load_workbook
from openpyxl.utils.datetime import from_excel

from nlp.errors import InputError, MinshengError
from nlp.normalise import validate
from service.store import Submission, Submitter

CHINA = timezone(timedelta(hours=8))
_FORMATS = (
    "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d",
    "%Y年%m月%d日 %H:%M:%S", "%Y年%m月%d日 %H:%M", "%Y年%m月%d日%H时%M分", "%Y年%m月%d日", "%Y.%m.%d", "%Y%m%d",
)  # fmt: skip
# Headers that offices and boards use, for columns that are not mapped by hand.
_HEADERS: dict[str, tuple[str, ...]] = {
    "text": (
        "text",
        "正文",
        "内容",
        "留言详情",
        "诉求内容",
        "来电内容",
        "工单内容",
        "反映内容",
        "信息内容",
        "提案内容",
    ),
    "title": ("title", "标题", "主题", "留言主题", "工单标题", "信息标题", "提案标题", "案由"),
    "received_at": ("received_at", "收到日期", "留言时间", "来电时间", "受理时间", "登记时间", "日期", "时间"),
    "external_id": ("external_id", "id", "编号", "留言编号", "工单编号", "提案编号", "序号"),
    "source": ("source", "来源"),
    "district": ("district", "区（市、县）", "区县", "所属区县", "区域"),
    "address": ("address", "地址", "事发地址"),
    "name": ("name", "反映人", "反映人/单位", "姓名", "留言用户", "来电人"),
    "phone": ("phone", "联系电话", "电话", "手机"),
    "party": ("party", "党派"),
    "sector": ("sector", "界别"),
    "kind": ("kind", "反映人类型"),
}
FIELDS = tuple(_HEADERS)
# Excel serial dates of 1990 to 2099: a bare year or a running number is no date.
_SERIALS = (32874, 73051)
_LIMITS = {"source": 100, "external_id": 200, "district": 100, "name": 200, "phone": 100, "party": 100, "sector": 100,
           "kind": 100, "address": 1000}  # fmt: skip


class IntakeError(MinshengError):
    """The file as a whole cannot be read; the message names it, what was expected and what was found."""


@dataclass(frozen=True)
class Row:
    """One row of a file: its number as the user counts (the header is row 1), and its cells by column name."""

    number: int
    cells: Mapping[str, Any]
    problem: str | None = None


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be stored, and why."""

    row: int
    field: str
    detail: str


def read_rows(path: Path) -> list[Row]:
    """Rows of a CSV, XLSX or JSON Lines file (told by its ending); raises IntakeError."""
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".xlsx": _read_xlsx, ".jsonl": _read_jsonl, ".ndjson": _read_jsonl}
    if path.suffix.lower() in {".xls", ".et", ".doc", ".wps"}:
        raise IntakeError(f"{path}：不支持 {path.suffix} 格式，请另存为 .xlsx 或 .csv")
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise IntakeError(f"{path}：无法识别的文件类型 {path.suffix!r}，应为 {'、'.join(readers)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IntakeError(f"{path}：文件无法读取：{error.strerror}") from error
    return reader(path, content)


def decode(path: Path, content: bytes) -> str:
    """Text of a file in UTF-8 (with or without BOM) or GB18030; raises IntakeError."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            failure = error
    raise IntakeError(f"{path}：编码应为 UTF-8 或 GB18030，第 {failure.start + 1} 个字节起无法解码")


def guess_columns(columns: list[str], given: Mapping[str, str]) -> dict[str, str]:
    """Field → column: what was given, and for the other fields a column whose header says so.

    Raises IntakeError for an unknown field or column, and where no column holds the text.
    """
    for name, column in given.items():
        if name not in FIELDS:
            raise IntakeError(f"--map 中的字段 {name!r} 不存在，应为 {'、'.join(FIELDS)} 之一")
        if column not in columns:
            raise IntakeError(f"--map 中的列 {column!r} 不在文件中，文件的列为：{'、'.join(columns)}")
    mapping = dict(given)
    for name, headers in _HEADERS.items():
        free = [c for c in columns if c not in mapping.values()]
        match = next((c for header in headers for c in free if c.strip().lower() == header), None)
        if name not in mapping and match is not None:
            mapping[name] = match
    if "text" not in mapping:
        # A file without a header shows its first row here: say little of it, it may be personal.
        shown = "、".join(c[:12] for c in columns[:20])
        raise IntakeError(f"找不到正文所在的列，请用 --map text=列名 指定；文件的列为：{shown}")
    return mapping


def to_submission(row: Row, mapping: Mapping[str, str], source: str | None, max_chars: int) -> Submission:
    """The submission in a row; raises InputError naming the field.

    Without an external id the row is identified by its number and content, so that a second import finds it again.
    """
    if row.problem:
        raise InputError("invalid_value", "row", row.problem)
    values = {name: row.cells.get(column) for name, column in mapping.items()}
    text = validate(_text(values.get("text")), "text", max_chars)
    title = validate(_text(values.get("title")), "title", max_chars, required=False)
    short = {name: _short(name, values.get(name)) for name in _LIMITS}
    content = hashlib.sha256("\n".join((title, text)).encode()).hexdigest()
    external_id = short["external_id"] or f"{row.number}-{content[:12]}"
    return Submission(
        source=source or short["source"] or "import",
        external_id=external_id,
        title=title,
        text=text,
        received_at=parse_date(values.get("received_at")),
        district=short["district"],
        address=short["address"],
        submitter=Submitter(**{f.name: short[f.name] for f in fields(Submitter)}),
    )


def parse_date(value: object) -> str | None:
    """ISO 8601 with offset, from the forms an office has; times without a zone are China's. Raises InputError.

    A bare number is an Excel serial date (1900 system).
    """
    if value is None or str(value).strip() == "":
        return None
    moment = value if isinstance(value, datetime) else _moment(str(value).strip())
    if moment is None:
        raise InputError(
            "invalid_value",
            "received_at",
            f"日期无法识别：{str(value)[:40]!r}，应如 2019/11/10 18:59:24 或 2019年11月10日",
        )
    return (moment if moment.tzinfo else moment.replace(tzinfo=CHINA)).isoformat(timespec="seconds")


def _moment(text: str) -> datetime | None:
    if re.fullmatch(r"\d{8}\.0", text):
        text = text[:8]
    for layout in _FORMATS:
        if layout == "%Y%m%d" and not re.fullmatch(r"\d{8}", text):
            continue  # it would read 202412 as 2 January
        try:
            return datetime.strptime(text, layout)  # noqa: DTZ007  (the zone is added by the caller)
        except ValueError:
            continue
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    try:
        serial = float(text)
    except ValueError:
        return None
    found = from_excel(serial) if _SERIALS[0] <= serial < _SERIALS[1] else None
    return found if isinstance(found, datetime) else None


def _text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _short(name: str, value: object) -> str | None:
    if value is None:
        return None
    number = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return validate(number.strip(), name, _LIMITS[name], required=False) or None


def _read_csv(path: Path, content: bytes) -> list[Row]:
    text = decode(path, content)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    header: list[str] | None = None
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            rows.append(
                Row(
                    number,
                    dict.fromkeys(header or [], ""),
                    f"不是有效的 CSV 行（文件第 {reader.line_num} 行）：{error}",
                )
            )
            continue
        if header is None:
            header = _header(path, cells)
        elif any(cell.strip() for cell in cells):
            while len(cells) > len(header) and not cells[-1].strip():
                cells.pop()
            problem = None if len(cells) == len(header) else f"应有 {len(header)} 列，实有 {len(cells)} 列"
            rows.append(Row(number, dict(zip(header, cells, strict=False)), problem))
    if header is None:
        raise IntakeError(f"{path}：文件是空的，应有表头一行")
    return rows


def _read_xlsx(path: Path, content: bytes) -> list[Row]:
    try:
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except Exception as error:  # the parsers of zip, XML and openpyxl raise a dozen kinds
        raise IntakeError(f"{path}：不是有效的 XLSX 文件（{error}）；请用 Excel 另存为 .xlsx") from error
    with closing(book):
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # some writers state a wrong size, and rows beyond it would be lost
        try:
            lines = list(sheet.iter_rows(values_only=True))
        except Exception as error:  # the parser raises what it likes over a damaged sheet
            raise IntakeError(f"{path}：工作表无法读取（{error}）；请用 Excel 另存为 .xlsx") from error
    if not lines or not any(lines[0]):
        raise IntakeError(f"{path}：第一张工作表是空的，应有表头一行")
    header = _header(path, ["" if cell is None else str(cell) for cell in lines[0]])
    return [
        Row(number, dict(zip(header, cells, strict=False)))
        for number, cells in enumerate(lines[1:], 2)
        if any(cell is not None and str(cell).strip() for cell in cells)
    ]


def _read_jsonl(path: Path, content: bytes) -> list[Row]:
    return list(json_rows(decode(path, content).split("\n")))


def json_rows(lines: list[str]) -> Iterator[Row]:
    """Rows of JSON Lines; a line that is no JSON object is a row with a problem."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"不是有效的 JSON：{error}")
            continue
        problem = None if isinstance(value, dict) else f"应为 JSON 对象，实为 {type(value).__name__}"
        yield Row(number, value if isinstance(value, dict) else {}, problem)


def _header(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise IntakeError(f"{path}：表头有重复的列：{'、'.join(repeated)}")
    return names
