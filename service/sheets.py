"""Tables of files → ``Sheet``: CSV (UTF-8, BOM, UTF-16, GB18030), XLSX and JSON Lines.

A row that cannot be read stays as a row with its ``problem``; the good rows go on.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

from openpyxl import load_workbook
from openpyxl.cell.cell import ERROR_CODES
from openpyxl.utils.cell import column_index_from_string, coordinate_from_string, range_boundaries

from service import secrecy
from service.archives import IntakeError, damaged, open_archive, refuse_doctypes, xml_elements, xml_root
from service.columns import header_at

MAX_ROWS = 200_000
MAX_COLUMNS = 500
# What Excel itself can hold: a cell said to lie beyond it is an attack, not a table.
_EXCEL_ROWS, _EXCEL_COLUMNS = 1_048_576, 16_384
# Columns that a file of rejected rows has besides its own; a corrected row keeps the number it came with.
ROW_COLUMN, REASON_COLUMN, SURPLUS_COLUMN = "原行号", "未导入原因", "多余内容"
_FURNITURE = re.compile(r'&(?:[LCRPNDTAFZGBIUESXYOH]|"[^"]*"|\d+|K[0-9A-Fa-f]{6}|&)')


@dataclass(frozen=True)
class Unreadable:
    """A cell whose value cannot be known, and why."""

    reason: str


@dataclass(frozen=True)
class Row:
    """One row of a file: its number as the user counts (the header is row 1), and its cells by column name.

    ``surplus``: what was in the row and belongs to no column.
    """

    number: int
    cells: Mapping[str, Any]
    problem: str | None = None
    surplus: str = ""


@dataclass(frozen=True)
class Sheet:
    """The rows of a file. ``kind`` text: items split from text; ``notes``: what the user should know of the reading."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    kind: Literal["table", "text"] = "table"
    notes: tuple[str, ...] = field(default=())


def decode(name: object, content: bytes) -> str:
    """Text of a file in UTF-8 (with or without BOM), UTF-16 with BOM or GB18030; raises IntakeError."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if utf16 else ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            failure = error
    raise IntakeError(f"{name}：编码应为 UTF-8 或 GB18030，第 {failure.start + 1} 个字节起无法解码")


def read_csv(name: str, content: bytes, delimiter: str, wanted: Collection[str]) -> Sheet:
    """The rows under the header of a CSV file; raises IntakeError."""
    # Whole file in memory anyway: a long cell is a row to refuse by its length, not by the parser in its middle.
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(decode(name, content), newline=""), delimiter=delimiter, strict=True)
    lines: list[list[str]] = []
    problems: dict[int, str] = {}
    while True:
        begun = reader.line_num + 1
        try:
            lines.append(next(reader))
        except StopIteration:
            break
        except csv.Error as error:
            lines.append([])
            extent = f"文件第 {begun} 至 {reader.line_num} 行" if reader.line_num > begun else f"文件第 {begun} 行"
            problems[len(lines) - 1] = f"不是有效的 CSV 行（{extent}），请检查引号：{error}"
        _bounded(name, len(lines))
    return _sheet(name, lines, problems, wanted, strict=True)


def _bounded(name: str, rows: int) -> None:
    if rows > MAX_ROWS:
        raise IntakeError(f"{name}：超过 {MAX_ROWS} 行，请分成几个文件导入")


def _sheet(
    name: str,
    lines: Sequence[Sequence[Any]],
    problems: Mapping[int, str],
    wanted: Collection[str],
    *,
    strict: bool,
    where: str = "",
) -> Sheet:
    """Rows by column name under the header found; ``strict``: every row must have exactly its columns."""
    shown = [["" if cell is None else str(cell) for cell in cells] for cells in lines[:50]]
    at = header_at(shown, wanted)
    if at is None:
        at = next((i for i, cells in enumerate(shown) if any(c.strip() for c in cells)), None)
    if at is None:
        raise IntakeError(f"{name}：文件是空的，应有表头一行")
    header = _header(name, shown[at])
    banner = any(cell.strip() for cells in shown[:at] for cell in cells)
    notes = (f"表头在第 {at + 1} 行，此前的内容未导入",) if banner else ()
    secrecy.refuse_lines(name, f"{where}表头之前", (cell for cells in shown[:at] for cell in cells))
    rows = []
    for number, cells in enumerate(lines[at + 1 :], at + 2):
        problem = problems.get(number - 1)
        kept = list(cells)
        while len(kept) > len(header) and _blank(kept[-1]):
            kept.pop()
        if problem is None and all(_blank(cell) for cell in kept):
            continue
        if problem is None and strict and len(kept) != len(header):
            problem = f"应有 {len(header)} 列，实有 {len(kept)} 列"
        surplus = " | ".join(str(cell) for cell in kept[len(header) :] if not _blank(cell))
        if problem is None and surplus:
            problem = f"有 {len(kept)} 列，表头只有 {len(header)} 列"
        row = Row(number, dict(zip(header, kept, strict=False)), problem, surplus)
        secrecy.refuse_cells(name, f"{where}第 {number} 行", row.cells)
        rows.append(row)
    return Sheet(tuple(header), tuple(rows), notes=notes)


def _blank(cell: Any) -> bool:
    return cell is None or not str(cell).strip()


def _header(name: str, cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    if len(names) > MAX_COLUMNS:
        raise IntakeError(f"{name}：表头有 {len(names)} 列，最多 {MAX_COLUMNS} 列")
    repeated = sorted({n for n in names if n and names.count(n) > 1})
    if repeated:
        raise IntakeError(f"{name}：表头有重复的列：{'、'.join(repeated)}")
    return [n or f"第{position}列" for position, n in enumerate(names, 1)]


@dataclass(frozen=True)
class _Layout:
    """What openpyxl does not tell when it streams: cells counted from 1."""

    hidden: int
    merged: tuple[tuple[int, int, int], ...]  # (first row, last row, column) of cells merged downwards
    unsaved: frozenset[tuple[int, int]]  # formulas without a stored value
    furniture: tuple[str, ...]  # page headers and footers


def read_xlsx(name: str, content: bytes, wanted: Collection[str]) -> Sheet:
    """The rows of the first sheet with a header that is recognised, visible ones first; raises IntakeError.

    All sheets are looked through for secrecy marks. Cells merged downwards count for each of their rows.
    """
    with closing(open_archive(name, content)) as archive:
        refuse_doctypes(name, archive)
        for part in archive.namelist():
            if re.fullmatch(r"xl/(?:drawings|comments|threadedComments)[^/]*(?:/[^/]+)?\.xml", part):
                runs = [e.text or "" for e in xml_root(name, archive, part).iter() if e.tag.endswith("}t")]
                secrecy.refuse_lines(name, "文本框或批注", [*runs, "".join(runs)])
        try:
            book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        except Exception as error:
            raise damaged(name, "工作簿", error) from error
        with closing(book):
            found = [
                (sheet.title, sheet.sheet_state != "visible", *_worksheet(name, sheet, archive))
                for sheet in book.worksheets
            ]
    filled = sorted((one for one in found if one[2]), key=lambda one: one[1])
    if not filled:
        raise IntakeError(f"{name}：工作表是空的，应有表头一行")
    for title, _, lines, _ in filled:
        secrecy.refuse_lines(name, f"工作表“{title}”", _bare_lines(lines, wanted))
        plain = ("\t".join(cell for cell in cells if isinstance(cell, str)) for cells in lines)
        secrecy.refuse_lines(name, f"工作表“{title}”", plain, bare=False)
    chosen = next((one for one in filled if header_at(_texts(one[2]), wanted) is not None), filled[0])
    title, _, lines, layout = chosen
    sheet = _sheet(name, lines, {}, wanted, strict=False, where=f"工作表“{title}”")
    notes = [f"读取的是工作表“{title}”"] if len(found) > 1 else []
    others = "、".join(f"“{one[0]}”" for one in filled if one is not chosen)
    notes += [f"其他有内容的工作表没有导入：{others}"] if others else []
    notes += [f"有 {layout.hidden} 行是隐藏的，也已读取"] if layout.hidden else []
    return Sheet(sheet.columns, sheet.rows, notes=(*sheet.notes, *notes))


def _texts(lines: Sequence[Sequence[Any]]) -> list[list[str]]:
    return [["" if cell is None else str(cell) for cell in cells] for cells in lines[:50]]


def _bare_lines(lines: Sequence[Sequence[Any]], wanted: Collection[str]) -> Iterator[str]:
    """Cells that stand for themselves: above the header, or anywhere in a sheet that has none."""
    at = header_at(_texts(lines), wanted)
    for cells in lines[:at]:
        filled = [str(cell) for cell in cells if not _blank(cell)]
        if at is not None or len(filled) == 1:
            yield from filled


def _worksheet(name: str, sheet: Any, archive: Any) -> tuple[list[list[Any]], _Layout]:
    try:
        with archive.open(sheet._worksheet_path) as stream:
            layout = _layout(name, stream)
        sheet.reset_dimensions()  # some writers state a wrong size, and rows beyond it would be lost
        lines: list[list[Any]] = []
        for cells in sheet.iter_rows(values_only=True):
            _bounded(name, len(lines))
            lines.append([_value(cell, layout, len(lines) + 1, column) for column, cell in enumerate(cells, 1)])
    except Exception as error:
        raise damaged(name, f"工作表“{sheet.title}”", error) from error
    secrecy.refuse_lines(name, f"工作表“{sheet.title}”的页眉页脚", layout.furniture)
    if sum(min(last, len(lines)) - first for first, last, _ in layout.merged) > _EXCEL_ROWS:
        raise IntakeError(f"{name}：工作表“{sheet.title}”的合并单元格互相重叠，请用 Office 打开后另存再导入")
    for first, last, column in layout.merged:
        if first <= len(lines) and column <= len(lines[first - 1]):
            for cells in lines[first:last]:
                cells.extend([None] * (column - len(cells)))
                cells[column - 1] = lines[first - 1][column - 1]
    while lines and all(_blank(cell) for cell in lines[-1]):
        lines.pop()
    return lines, layout


def _value(cell: Any, layout: _Layout, row: int, column: int) -> Any:
    if (row, column) in layout.unsaved:
        return Unreadable("单元格是公式，文件中没有它的计算结果，请用 Excel 打开并保存后再导入")
    return Unreadable(f"单元格是错误值 {cell}") if isinstance(cell, str) and cell in ERROR_CODES else cell


def _layout(name: str, stream: Any) -> _Layout:
    hidden, merged, unsaved, furniture = 0, [], set(), []
    for _, element in xml_elements(stream):
        tag = element.tag.rpartition("}")[2]
        if tag == "row":
            if int(element.get("r", "1")) > _EXCEL_ROWS:
                raise IntakeError(f"{name}：行号 {element.get('r')[:20]} 超出 Excel 的范围")
            hidden += element.get("hidden") in {"1", "true"} and len(element) > 0
            element.clear()
        elif tag == "c" and element.get("r"):
            letters, row = coordinate_from_string(element.get("r"))
            column = column_index_from_string(letters)
            if row > _EXCEL_ROWS or column > _EXCEL_COLUMNS:
                raise IntakeError(f"{name}：单元格 {element.get('r')[:20]} 超出 Excel 的范围")
            parts = {child.tag.rpartition("}")[2]: child.text for child in element}
            if "f" in parts and parts.get("v") is None and element.get("t") != "str":  # "" is stored as nothing
                unsaved.add((row, column))
        elif tag == "mergeCell":
            left, top, right, bottom = range_boundaries(element.get("ref"))
            if left == right and top < bottom <= _EXCEL_ROWS:
                merged.append((top, bottom, left))
        elif tag in {"oddHeader", "oddFooter", "evenHeader", "evenFooter", "firstHeader", "firstFooter"}:
            furniture += _FURNITURE.sub("\n", element.text or "").splitlines()
    return _Layout(hidden, tuple(merged), frozenset(unsaved), tuple(furniture))


def read_jsonl(name: str, content: bytes) -> Sheet:
    """The objects of JSON Lines as rows; raises IntakeError."""
    rows = tuple(json_rows(decode(name, content).split("\n")))
    _bounded(name, len(rows))
    columns = tuple(dict.fromkeys(column for row in rows for column in row.cells))
    if len(columns) > MAX_COLUMNS:
        raise IntakeError(f"{name}：共有 {len(columns)} 个字段，最多 {MAX_COLUMNS} 个")
    for row in rows:
        secrecy.refuse_cells(name, f"第 {row.number} 行", row.cells)
    return Sheet(columns, rows)


def json_rows(lines: Iterable[str]) -> Iterator[Row]:
    """Rows of JSON Lines; a line that is no JSON object is a row with a problem."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"不是有效的 JSON：{error}", line)
            continue
        if isinstance(value, dict):
            yield Row(number, value)
        else:
            yield Row(number, {}, f"应为 JSON 对象，实为 {type(value).__name__}", line)
