"""Exports of stored submissions, personal data masked: the plain columns, or the ledger (台账) that officials keep.

XLSX, CSV and JSON Lines; no cell of either table format is taken for a formula.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import IO, Any, Literal

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter

from nlp.taxonomy import Taxonomy
from service import render, replies
from service.cases import Cases
from service.dates import CHINA
from service.intake import guarded
from service.search import Filters, matching
from service.steps import Standing
from service.store import Store, Stored

Format = Literal["jsonl", "csv", "xlsx"]
MEDIA_TYPES: dict[Format, str] = {
    "jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}  # fmt: skip
# The columns of the ledger, in order, and their widths in characters.
LEDGER = {
    "编号": 12, "收到日期": 12, "来源": 10, "反映人/单位": 14, "界别": 10, "联系电话": 14, "标题": 30, "摘要": 50,
    "主题": 10, "诉求类型": 14, "区（市、县）": 12, "并案编号": 10, "主办": 18, "协办": 18, "转办日期": 12,
    "办理时限": 12, "状态": 10, "办理结果": 30, "采用情况/期号": 16, "批示": 16, "满意度": 10, "经办人": 10,
    "审核人": 10, "备注": 20,
}  # fmt: skip
_WRAPPED = frozenset({"标题", "摘要", "办理结果", "备注"})
_SUMMARY_CHARS = 100
_PAGE = 500
_HEADER_FILL = PatternFill("solid", fgColor="D9E2F3")
_THIN = Side(style="thin", color="999999")


Standings = Callable[[Sequence[int]], Mapping[int, Standing]]


@dataclass(frozen=True)
class Table:
    """What is to be written: column → width, and the rows, read as they are written."""

    title: str
    columns: Mapping[str, int | None]
    rows: Iterable[Mapping[str, Any]]


def table(store: Store, filters: Filters, taxonomy: Taxonomy, standing: Standings, *, ledger: bool) -> Table:
    """The submissions that pass, as plain columns or as the ledger."""
    pages = _pages(store, filters, standing)
    if not ledger:
        rows = (render.stored(item) for page, _ in pages for item in page)
        return Table("材料", dict.fromkeys(render.COLUMNS), rows)
    cases = {number: case for number, (case, _) in Cases(store).memberships().items()}
    return Table("台账", LEDGER, _ledger_rows(store, pages, cases, taxonomy))


def _pages(
    store: Store, filters: Filters, standing: Standings
) -> Iterator[tuple[list[Stored], Mapping[int, Standing]]]:
    numbers = [int(number) for number in matching(store, filters)]
    for start in range(0, len(numbers), _PAGE):
        some = numbers[start : start + _PAGE]
        yield store.get_many(some), standing(some)


def _ledger_rows(
    store: Store,
    pages: Iterator[tuple[list[Stored], Mapping[int, Standing]]],
    cases: Mapping[int, int],
    taxonomy: Taxonomy,
) -> Iterator[dict[str, Any]]:
    for page, stands in pages:
        replied = replies.last(store, [item.id for item in page])
        for item in page:
            row = _ledger_row(item, cases.get(item.id), stands.get(item.id), taxonomy)
            if row["办理结果"] is None and item.id in replied:
                row["办理结果"] = render.reply(item, replied[item.id])
            yield row


def _ledger_row(item: Stored, case: int | None, stands: Standing | None, taxonomy: Taxonomy) -> dict[str, Any]:
    whole = render.stored(item)
    submitter = whole["submitter"]
    themes = {theme.id: theme.name for theme in taxonomy.themes}
    matters = {key: matter.name for key, matter in taxonomy.matter_by_id.items()}
    row: dict[str, Any] = {
        "编号": (stands and stands.number) or whole["external_id"],
        "收到日期": _day(whole["received_at"]),
        "来源": whole["source"],
        "反映人/单位": submitter["name"],
        "界别": submitter["sector"],
        "联系电话": submitter["phone"],
        "标题": whole["title"],
        "摘要": _summary(item, whole["text"]),
        "主题": themes.get(whole["primary"], whole["primary"]),
        "诉求类型": matters.get(whole["matter"], whole["matter"]),
        "区（市、县）": whole["district"],
        "并案编号": case,
    }
    if stands is not None:
        row |= {
            "主办": stands.lead_unit,
            "协办": "、".join(stands.support_units or ()),
            "转办日期": _day(stands.routed_at),
            "办理时限": _day(stands.due),
            "状态": stands.state,
            "办理结果": stands.result,
            "采用情况/期号": stands.adoption,
            "批示": stands.instruction,
            "满意度": stands.satisfaction,
            "经办人": stands.handler,
            "审核人": stands.reviewer,
            "备注": stands.note,
        }
    return {column: row.get(column) for column in LEDGER}


def _day(moment: str | None) -> date | None:
    """The day in China of an ISO 8601 time or date."""
    if not moment:
        return None
    found = datetime.fromisoformat(moment)
    return (found.astimezone(CHINA) if found.tzinfo else found).date()


def _summary(item: Stored, text: str) -> str:
    """The text where it is short, else the clauses that speak most for its theme, in their order; all of it masked."""
    if len(text) <= _SUMMARY_CHARS:
        return text
    evidence = [e for e in (item.analysis or {}).get("evidence", []) if e["field"] == "text"]
    chosen: list[tuple[int, int]] = []
    for one in sorted(evidence, key=lambda e: -e["weight"]):
        if sum(end - start for start, end in chosen) + one["end"] - one["start"] <= _SUMMARY_CHARS:
            chosen.append((one["start"], one["end"]))
    if not chosen:
        return text[: _SUMMARY_CHARS - 1] + "…"
    return "……".join(text[start:end].strip() for start, end in sorted(chosen))


def write(target: IO[bytes], format: Format, content: Table) -> None:
    """Write the table as it is read: CSV with the mark by which Excel knows UTF-8."""
    if format == "xlsx":
        _write_xlsx(target, content)
        return
    stream = io.TextIOWrapper(target, "utf-8-sig" if format == "csv" else "utf-8", newline="", write_through=True)
    if format == "csv":
        writer = csv.writer(stream)
        writer.writerow(content.columns)
        writer.writerows([guarded(_plain(row[name])) for name in content.columns] for row in content.rows)
    else:
        for row in content.rows:
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    stream.detach()  # the target is the caller's to close


def _write_xlsx(target: IO[bytes], content: Table) -> None:
    book = Workbook(write_only=True)
    sheet = book.create_sheet(content.title)
    sheet.freeze_panes = "A2"
    for position, width in enumerate(content.columns.values(), 1):
        if width is not None:
            sheet.column_dimensions[get_column_letter(position)].width = width
    sheet.append([_header_cell(sheet, name) for name in content.columns])
    for row in content.rows:
        sheet.append([_cell(sheet, name, row[name]) for name in content.columns])
    book.save(target)


def _header_cell(sheet: Any, name: str) -> Any:
    cell = WriteOnlyCell(sheet, name)
    cell.font, cell.fill = Font(bold=True), _HEADER_FILL
    cell.alignment = Alignment(horizontal="center", vertical="center", wrap_text=True)
    cell.border = Border(bottom=_THIN)
    return cell


def _cell(sheet: Any, name: str, value: Any) -> Any:
    plain = _plain(value)
    if isinstance(plain, str):
        plain = ILLEGAL_CHARACTERS_RE.sub("\N{REPLACEMENT CHARACTER}", guarded(plain))
    if not isinstance(value, date) and name not in _WRAPPED:
        return plain
    cell = WriteOnlyCell(sheet, value if isinstance(value, date) else plain)
    cell.alignment = Alignment(vertical="top", wrap_text=name in _WRAPPED)
    if isinstance(value, date):
        cell.number_format = "yyyy-mm-dd"
    return cell


def _plain(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value.isoformat() if isinstance(value, date) else value
