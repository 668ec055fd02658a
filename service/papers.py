"""The office's papers as files: a bulletin (DOCX), the 采用通报 (XLSX, DOCX) and the 履职 table (XLSX).

No cell is a formula, whatever a name or title begins with.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from docx import Document
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml.ns import qn
from docx.shared import Cm, Pt, RGBColor
from openpyxl import Workbook
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter

from nlp.pii import mask
from service import render
from service.bulletins import WITHDRAWN, Bulletin
from service.dates import CHINA
from service.fields import ADOPTED_BY
from service.intake import guarded
from service.points import Entry
from service.results import BY, COUNTS, Performance, Place, Results
from service.steps import STEPS, Standing
from service.store import Stored
from service.voices import PUBLIC_KINDS

MEDIA = {
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}
_RED = RGBColor(0xC0, 0x00, 0x00)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_BODY = "仿宋"
_HEAD = "黑体"
_PLACE = ("名次", "名称", "人数", *COUNTS.values(), "得分")
_ADOPTED = ("编号", "标题", "委员/单位", "层级", "形式", "期号", "日期", "记录号")
_PERSON = ("名册号", "编号", "姓名/单位名称", "类别", "界别", "党派", "专委会", "届次", *COUNTS.values(), "得分")
_POINT = ("名册号", "姓名/单位名称", "材料", "编号", "记录号", "日期", "事项", "层级", "形式", "期号", "得分", "说明")
_OPEN = ("材料", "编号", "标题", "待定原因", "可能是（名册号）")


def bulletin_docx(found: Bulletin, sources: Sequence[tuple[Stored, Standing]]) -> bytes:
    """A bulletin laid out as an office sends it; ``sources`` by number, citizens and personal data starred out."""
    page = _page()
    _line(page, found.series, 30, font=_HEAD, align="center", colour=_RED, bold=True)
    issued = "" if found.issued_on is None else f"　　{_written(date.fromisoformat(found.issued_on))}"
    number = found.issue or "（草稿，未编号）"
    _line(page, f"{number}{'（已撤回）' if found.state == WITHDRAWN else ''}{issued}", 14, align="center")
    _line(page, mask(found.text.title), 22, font=_HEAD, align="center", bold=True)
    for paragraph in filter(str.strip, found.text.body.split("\n")):
        _line(page, mask(paragraph.strip()), 16, indent=True)
    _line(page, "来稿：", 14, font=_HEAD)
    for item, standing in sources:
        _line(page, f"{standing.number or item.submission.external_id}　{_author(item)}", 14, indent=True)
    _line(page, f"报送：{'、'.join(found.text.recipients) or '（未定）'}", 14, font=_HEAD)
    return _saved(page)


def _author(item: Stored) -> str:
    """Who sent it: 委员 and units in full with their sector or party, citizens as they are starred out."""
    submitter = render.stored(item)["submitter"]
    if not submitter["name"]:
        return "反映人不明"
    public = submitter["kind"] in PUBLIC_KINDS
    return "，".join(filter(None, (submitter["name"], submitter["sector"] or submitter["party"]) if public
                           else (submitter["name"],)))  # fmt: skip


def report_docx(found: Results) -> bytes:
    """The 采用通报 in words and tables: how many, the rankings, and what was adopted."""
    page = _page()
    _line(page, "社情民意信息采用情况通报", 22, font=_HEAD, align="center", bold=True)
    _line(page, _span(found), 14, align="center")
    told = "，".join(f"{name} {len(found.everybody[key])} 件" for key, name in COUNTS.items())
    _line(page, f"{_span(found)}，{told}。名册中的委员、单位 {len(found.performances)} 个（名）。", 14, indent=True)
    for by, name in BY.items():
        places = found.ranking(by)
        if places:
            _line(page, f"按{name}排名", 16, font=_HEAD)
            _grid(page, _PLACE, [_place_row(place) for place in places])
    if found.adopted:
        _line(page, "采用明细", 16, font=_HEAD)
        _grid(page, _ADOPTED, _adopted_rows(found))
    if found.undecided:
        _line(page, f"另有 {len(found.undecided)} 件的反映人待认定，没有计入任何人。", 14, indent=True)
    _line(page, _basis(found), 10.5)
    return _saved(page)


def report_xlsx(found: Results) -> bytes:
    """The 采用通报: a sheet for each ranking, what was adopted, what is undecided, and what it rests on."""
    book = Workbook()
    book.remove(book.active)
    for by, name in BY.items():
        add_sheet(book, f"按{name}", _PLACE, [_place_row(place) for place in found.ranking(by)])
    add_sheet(book, "采用明细", _ADOPTED, _adopted_rows(found))
    return _finished(book, found)


def members_xlsx(found: Results) -> bytes:
    """The 履职 table: a line for each 委员 and unit, those with nothing too, and each point with its event."""
    book = Workbook()
    book.remove(book.active)
    add_sheet(book, "履职", _PERSON, [_person_row(one) for one in found.performances])
    points = [_point_row(found, one, entry) for one in found.performances for entry in one.entries]
    add_sheet(book, "得分明细", _POINT, points)
    return _finished(book, found)


def _finished(book: Any, found: Results) -> bytes:
    rows = [
        [r.id, r.number, r.title, r.credit.doubt, "、".join(map(str, r.credit.candidates))] for r in found.undecided
    ] + [[r.id, r.number, r.title, f"名册中没有：{'、'.join(r.credit.unlisted)}", ""] for r in found.unlisted]
    add_sheet(book, "待认定", _OPEN, rows)
    add_sheet(book, "说明", ("说明",), [[_span(found)], [_basis(found)]])
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def _span(found: Results) -> str:
    term = f"，{found.scope.term}" if found.scope.term else ""
    return f"{_written(found.scope.first)}至{_written(found.scope.last)}{term}"


def _basis(found: Results) -> str:
    moment = datetime.fromisoformat(found.scope.as_of).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")
    return f"依据截至 {moment} 的记录；计分表 {found.table.sha256[:12]}。"


def _written(day: date) -> str:
    return f"{day.year}年{day.month}月{day.day}日"


def _place_row(place: Place) -> list[Any]:
    return [place.rank, place.name, place.people, *(len(place.tally[name]) for name in COUNTS), place.points]


def _adopted_rows(found: Results) -> list[list[Any]]:
    rows = [(h.day, r, h) for r, h in found.adopted]
    rows.sort(key=lambda row: (ADOPTED_BY.index(row[2].level), row[0], row[2].event))
    return [
        [r.number, r.title, "、".join(found.names.get(n, f"名册 {n} 号") for n in r.credit.members) or "—",
         h.level, h.form, h.issue, day, h.event]
        for day, r, h in rows
    ]  # fmt: skip


def _person_row(one: Performance) -> list[Any]:
    p = one.member.person
    known = (p.code, p.name, p.category or p.kind, p.sector, p.party, p.committee, p.term)
    return [one.member.id, *known, *(len(one.tally[name]) for name in COUNTS), one.points]


def _point_row(found: Results, one: Performance, entry: Entry) -> list[Any]:
    h = entry.happening
    return [one.member.id, one.member.person.name, h.number, found.numbers.get(h.number), h.event, h.day,
            STEPS[h.kind].name, h.level, h.form, h.issue, entry.points, entry.why]  # fmt: skip


def add_sheet(
    book: Any, title: str, header: Sequence[str], rows: Iterable[Sequence[Any]], *, wrapped: bool = False
) -> None:
    """A sheet of a workbook, columns as wide as they need; ``wrapped``: long cells break their lines, not the header's
    alone. No cell is a formula."""
    sheet = book.create_sheet(title)
    sheet.append(list(header))
    for row in rows:
        sheet.append([_plain(value) for value in row])
    for index, cells in enumerate(sheet.iter_cols(), 1):
        longest = max(len(str(cell.value or "")) for cell in cells)
        sheet.column_dimensions[get_column_letter(index)].width = min(50, max(8, 2 * longest))
        cells[0].font = Font(bold=True)
        for cell in cells if wrapped else cells[:1]:
            cell.alignment = Alignment(wrap_text=True, vertical="top")
    sheet.freeze_panes = "A2"


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else guarded(clean(value)) if isinstance(value, str) else value


def clean(text: str) -> str:
    """``text`` without the control characters that neither XLSX nor DOCX can hold."""
    return _CONTROL.sub("", text)


def _page() -> Any:
    page = Document()
    section = page.sections[0]
    section.page_width, section.page_height = Cm(21), Cm(29.7)
    section.top_margin, section.bottom_margin = Cm(3.7), Cm(3.5)
    section.left_margin, section.right_margin = Cm(2.8), Cm(2.6)
    _font(page.styles["Normal"], _BODY)
    return page


def _font(styled: Any, name: str) -> None:
    styled.font.name = name
    styled.element.get_or_add_rPr().get_or_add_rFonts().set(qn("w:eastAsia"), name)


def _line(
    page: Any, text: str, size: float, *, font: str = _BODY, align: str = "", colour: RGBColor | None = None,
    bold: bool = False, indent: bool = False,
) -> None:  # fmt: skip
    paragraph = page.add_paragraph()
    if align == "center":
        paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
    if indent:
        paragraph.paragraph_format.first_line_indent = Pt(2 * size)
    run = paragraph.add_run(clean(text))
    run.font.size, run.font.bold, run.font.name = Pt(size), bold, font
    run._element.get_or_add_rPr().get_or_add_rFonts().set(qn("w:eastAsia"), font)
    if colour is not None:
        run.font.color.rgb = colour


def _grid(page: Any, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    grid = page.add_table(rows=1 + len(rows), cols=len(header), style="Table Grid")
    for line, values in zip(grid.rows, (header, *rows), strict=True):
        for cell, value in zip(line.cells, values, strict=True):
            cell.text = "" if value is None else clean(str(value))
            for run in cell.paragraphs[0].runs:
                run.font.size = Pt(9)


def _saved(page: Any) -> bytes:
    stream = io.BytesIO()
    page.save(stream)
    return stream.getvalue()
