"""The selection as files: XLSX for those who calculate, DOCX (选题建议表) for those who decide."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from docx import Document
from docx.enum.section import WD_ORIENT
from docx.oxml.ns import qn
from docx.shared import Cm, Pt
from openpyxl import Workbook

from service.candidates import PARTS, Candidate, Selection
from service.papers import add_sheet, clean

_TITLE = "选题建议表"
_DOCX_COLUMNS = ("序号", "建议选题", "得分", "理由", "各项得分", "依据材料")
_WIDTHS = (1.2, 4.2, 1.5, 7.2, 6.0, 5.0)
_SHOWN = 12


def workbook(selection: Selection) -> bytes:
    """An XLSX file: candidates with every part, what was studied before, and gaps; no cell is a formula."""
    book = Workbook()
    book.remove(book.active)
    labels = [label for label, _ in PARTS.values()]
    header = ["序号", "议题编号", "建议选题", "得分", "理由", "反映人数", "件数", "去重件数", "区县", *labels]
    header += [f"{label}依据" for label in labels] + ["依据材料"]
    rows = [_row(i, one) for i, one in enumerate(selection.candidates, 1)]
    add_sheet(book, "选题建议", header, rows, wrapped=True)
    add_sheet(
        book, "此前已研究", ["议题编号", "议题", "反映人数", "以往课题与提案", "年份", "状态"],
        [[c.topic.id, c.topic.name, c.topic.voices, m.work.title, m.work.year or "不详", m.work.status or "不详"]
         for c in selection.studied for m in c.studied], wrapped=True,
    )  # fmt: skip
    add_sheet(
        book, "薄弱主题", ["主题", "件数", "平均每个主题", "说明"],
        [[gap.theme, gap.count, round(gap.expected, 1), gap.note] for gap in selection.gaps], wrapped=True,
    )  # fmt: skip
    told = [[f"统计截至 {selection.as_of or '日期不详'}"], *([n] for n in selection.notes)]
    add_sheet(book, "说明", ["说明"], told, wrapped=True)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def _row(number: int, one: Candidate) -> list[Any]:
    view = one.topic
    values = [None if part.value is None else round(part.value, 3) for part in one.parts]
    districts = "、".join(f"{name}{count}" for name, count in view.districts.items())
    numbers = "、".join(view.external_ids)
    return [number, view.id, view.name, round(one.score, 3), one.reason, view.voices, view.size, view.distinct,
            districts, *values, *(part.note for part in one.parts), numbers]  # fmt: skip


def document(selection: Selection) -> bytes:
    """A DOCX file: the 选题建议表 on landscape A4, gaps and notes below it."""
    page = Document()
    section = page.sections[0]
    section.orientation = WD_ORIENT.LANDSCAPE
    section.page_width, section.page_height = Cm(29.7), Cm(21)
    section.left_margin = section.right_margin = Cm(2)
    style = page.styles["Normal"]
    style.font.name, style.font.size = "宋体", Pt(10.5)
    style.element.rPr.rFonts.set(qn("w:eastAsia"), "宋体")
    page.add_heading(_TITLE, level=1)
    page.add_paragraph(f"统计截至 {selection.as_of or '日期不详'}。机器只提建议，由研究人员决定。")
    grid = page.add_table(rows=1, cols=len(_DOCX_COLUMNS))
    grid.style = "Table Grid"
    _fill(grid.rows[0], _DOCX_COLUMNS)
    for number, one in enumerate(selection.candidates, 1):
        _fill(grid.add_row(), _cells(number, one))
    if not selection.candidates:
        page.add_paragraph("没有达到人数的选题。")
    _list(page, "此前已研究，不再列入", [f"{c.topic.name}：{m.work.title}（{m.work.year or '年份不详'}）"
                                for c in selection.studied for m in c.studied[:1]])  # fmt: skip
    _list(page, "薄弱主题", [gap.note for gap in selection.gaps])
    _list(page, "说明", selection.notes)
    stream = io.BytesIO()
    page.save(stream)
    return stream.getvalue()


def _cells(number: int, one: Candidate) -> tuple[str, ...]:
    parts = "\n".join(f"{p.label} {'—' if p.value is None else format(p.value, '.2f')}：{p.note}" for p in one.parts)
    ids = one.topic.external_ids
    shown = "、".join(ids[:_SHOWN]) + (f" 等 {len(ids)} 件" if len(ids) > _SHOWN else "")
    return str(number), one.topic.name, f"{one.score:.2f}", one.reason, parts, shown


def _fill(row: Any, texts: Sequence[str]) -> None:
    for cell, text, width in zip(row.cells, texts, _WIDTHS, strict=True):
        cell.text, cell.width = clean(text), Cm(width)


def _list(page: Any, heading: str, lines: Sequence[str]) -> None:
    if lines:
        page.add_heading(heading, level=2)
    for line in lines:
        page.add_paragraph(clean(line), style="List Bullet")
