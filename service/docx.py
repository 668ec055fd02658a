"""DOCX → lines and tables → ``Sheet``. Plain ZIP and XML: only the parts that hold text are opened."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from contextlib import closing
from xml.etree.ElementTree import Element

from service import secrecy
from service.archives import open_archive, xml_root
from service.columns import field_of, header_at
from service.documents import Line, Split, items_of
from service.sheets import Row, Sheet

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_STRICT = "{http://purl.oclc.org/ooxml/wordprocessingml/main}"
_RELATIONSHIPS = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_FURNITURE = re.compile(r"word/(?:header|footer)\d*\.xml")
# Alternative content comes twice; deleted text is kept in elements of its own.
_SKIPPED = ("Fallback", "txbxContent", "del", "moveFrom", "instrText", "delText")
_WRAPPERS = frozenset({"sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag"})
_NUMERALS = ("chineseCounting", "chineseCountingThousand", "japaneseCounting", "ideographDigital")


def read_docx(name: str, content: bytes, split: Split = "auto") -> Sheet:
    """The items of a document: the rows of its tables where they have a header for the text, else its split lines.

    Raises IntakeError, ClassifiedFile among them.
    """
    with closing(open_archive(name, content)) as archive:
        parts = set(archive.namelist())
        for part in sorted(filter(_FURNITURE.fullmatch, parts)):
            lines = [_text(p) for p in _plain(xml_root(name, archive, part)).iter(f"{_W}p")]
            secrecy.refuse_lines(name, "页眉页脚", lines)
        body = _plain(xml_root(name, archive, _main_part(name, archive))).find(f"{_W}body")
        styles = _styles(name, archive) if "word/styles.xml" in parts else {}
        numbering = _numbering(name, archive) if "word/numbering.xml" in parts else {}
    if body is None:
        return items_of(name, [], split)
    boxes = [_text(p) for box in body.iter(f"{_W}txbxContent") for p in box.iter(f"{_W}p")]
    secrecy.refuse_lines(name, "文本框", boxes)
    sheet = _read_body(name, body, styles, numbering, split)
    note = ("文本框中的文字没有导入",) if any(boxes) else ()
    return Sheet(sheet.columns, sheet.rows, sheet.kind, (*sheet.notes, *note))


def _plain(root: Element) -> Element:
    """The strict form has another namespace for the same elements."""
    for element in root.iter():
        element.tag = element.tag.replace(_STRICT, _W)
        for key in [key for key in element.attrib if key.startswith(_STRICT)]:
            element.attrib[key.replace(_STRICT, _W)] = element.attrib.pop(key)
    return root


def _main_part(name: str, archive: zipfile.ZipFile) -> str:
    if "_rels/.rels" in archive.namelist():
        for relation in xml_root(name, archive, "_rels/.rels").iter(_RELATIONSHIPS):
            target = posixpath.normpath(relation.get("Target", "").lstrip("/"))
            if relation.get("Type", "").endswith("/officeDocument") and target in archive.namelist():
                return target
    return "word/document.xml"


def _styles(name: str, archive: zipfile.ZipFile) -> dict[str, int]:
    """Style id → rank of its headings: 0 title, 1 to 9; -1 for a table of contents."""
    ranks: dict[str, int] = {}
    for style in _plain(xml_root(name, archive, "word/styles.xml")).iter(f"{_W}style"):
        label = (_attribute(style.find(f"{_W}name")) or "").lower()
        level = re.fullmatch(r"(?:heading|标题) ?([1-9])", label)
        outline = _attribute(style.find(f"{_W}pPr/{_W}outlineLvl"))
        identity = style.get(f"{_W}styleId", "")
        if label in {"title", "标题"}:
            ranks[identity] = 0
        elif label.startswith("toc"):
            ranks[identity] = -1
        elif level:
            ranks[identity] = int(level[1])
        elif outline and outline.isdigit() and int(outline) < 9:
            ranks[identity] = int(outline) + 1
    return ranks


def _numbering(name: str, archive: zipfile.ZipFile) -> dict[str, str]:
    """Number id → format of its first level, of the lists that Word numbers by itself."""
    root = _plain(xml_root(name, archive, "word/numbering.xml"))
    formats = {}
    for abstract in root.iter(f"{_W}abstractNum"):
        level = next((e for e in abstract.iter(f"{_W}lvl") if e.get(f"{_W}ilvl") == "0"), None)
        found = _attribute(level.find(f"{_W}numFmt")) if level is not None else None
        formats[abstract.get(f"{_W}abstractNumId")] = found or "decimal"
    return {
        num.get(f"{_W}numId", ""): formats.get(_attribute(num.find(f"{_W}abstractNumId")), "decimal")
        for num in root.iter(f"{_W}num")
    }


def _attribute(element: Element | None) -> str | None:
    return None if element is None else element.get(f"{_W}val")


def _read_body(name: str, body: Element, styles: dict[str, int], numbering: dict[str, str], split: Split) -> Sheet:
    lines: list[Line] = []
    rows: list[Row] = []
    columns: list[str] = []
    counts: dict[str, int] = {}
    opens = False
    for block in _blocks(body):
        if block.tag == f"{_W}tbl":
            grid = _grid(block, filled_down=True)
            at = _header_of(grid)
            if at is None:
                lines += _form(_grid(block, filled_down=False))
            else:
                header = [cell.strip() or f"第{n}列" for n, cell in enumerate(grid[at], 1)]
                columns += [column for column in header if column not in columns]
                filled = [cells for cells in grid[at + 1 :] if any(cell.strip() for cell in cells)]
                rows += [Row(n, dict(zip(header, c, strict=False))) for n, c in enumerate(filled, len(rows) + 2)]
            continue
        found = _paragraph(block, styles, numbering, counts)
        lines += [Line(line.text, line.rank, line.opens or (opens and n == 0)) for n, line in enumerate(found)]
        opens = block.find(f"{_W}pPr/{_W}sectPr") is not None or (opens and not any(line.text for line in found))
    if not rows:
        return items_of(name, lines, split)
    secrecy.refuse_lines(name, "", (line.text for line in lines))
    for row in rows:
        secrecy.refuse_cells(name, f"表格第 {row.number} 行", row.cells)
    outside = " ".join(line.text for line in lines if line.text)
    notes = [f"读取的是表格，共 {len(rows)} 行"] + ([f"表格之外的文字没有导入：{outside[:100]}"] if outside else [])
    return Sheet(tuple(columns), tuple(rows), notes=tuple(notes))


def _header_of(grid: list[list[str]]) -> int | None:
    """Index of the header where the table is a list; None for a form, whose labels stand before their values."""
    at = header_at(grid[:3], ())
    if at is None or len(grid) == at + 1:
        return None
    filled = [cell for cell in grid[at] if cell.strip()]
    known = sum(field_of(cell) is not None for cell in filled)
    labelled = any(cells and field_of(cells[0]) for cells in grid[at + 1 :])
    return at if known * 2 > len(filled) or (at == 0 and not labelled) else None


def _blocks(parent: Element) -> Iterator[Element]:
    """Paragraphs and tables in order; content controls and insertions are looked into."""
    for child in parent:
        tag = child.tag.removeprefix(_W)
        if tag in {"p", "tbl"}:
            yield child
        elif tag in _WRAPPERS:
            yield from _blocks(child)


def _children(parent: Element, tag: str) -> Iterator[Element]:
    """Rows of a table, cells of a row: its own, not those of a table within a cell."""
    for child in parent:
        if child.tag == _W + tag:
            yield child
        elif child.tag.removeprefix(_W) in _WRAPPERS:
            yield from _children(child, tag)


def _paragraph(p: Element, styles: dict[str, int], numbering: dict[str, str], counts: dict[str, int]) -> list[Line]:
    """The lines of a paragraph: it is broken at its line breaks and page breaks."""
    style = styles.get(_attribute(p.find(f"{_W}pPr/{_W}pStyle")) or "")
    if style == -1:
        return []
    outline = _attribute(p.find(f"{_W}pPr/{_W}outlineLvl"))
    rank = int(outline) + 1 if style is None and outline and outline in "012345678" else style
    before = _attribute(p.find(f"{_W}pPr/{_W}pageBreakBefore"))
    starts = p.find(f"{_W}pPr/{_W}pageBreakBefore") is not None and before not in {"0", "false"}
    text = _text(p)
    number = _attribute(p.find(f"{_W}pPr/{_W}numPr/{_W}numId"))
    level = _attribute(p.find(f"{_W}pPr/{_W}numPr/{_W}ilvl")) or "0"
    if number in numbering and level == "0" and numbering[number] != "bullet" and text.strip():
        counts[number] = counts.get(number, 0) + 1
        text = _numeral(counts[number], numbering[number]) + text
    lines = []
    for page, part in enumerate(text.split("\f")):
        for n, line in enumerate(part.split("\n")):
            lines.append(Line(line.strip(" \t\u3000"), rank, n == 0 and (starts or page > 0)))
    return lines


def _numeral(n: int, form: str) -> str:
    digits = " 一二三四五六七八九"
    if form not in _NUMERALS or n > 99:
        return f"{n}. "
    tens, ones = divmod(n, 10)
    return f"{digits[tens] if tens > 1 else ''}{'十' if tens else ''}{digits[ones].strip()}、"


def _text(element: Element) -> str:
    """Text of a paragraph as read: tabs, breaks (``\\n``, page breaks ``\\f``), nothing deleted, no text boxes."""
    pieces: list[str] = []
    for child in element:
        tag = child.tag.rpartition("}")[2]
        if tag == "t" and child.tag.startswith(_W):
            pieces.append(child.text or "")
        elif tag in {"br", "cr"}:
            pieces.append("\f" if child.get(f"{_W}type") == "page" else "\n")
        elif tag == "tab":
            pieces.append("" if element.tag == f"{_W}tabs" else "\t")
        elif tag == "noBreakHyphen":
            pieces.append("-")
        elif tag not in _SKIPPED:
            pieces.append(_text(child))
    return "".join(pieces)


def _grid(table: Element, *, filled_down: bool) -> list[list[str]]:
    """Cell texts by row; one merged across stands once, then blank; one merged downwards in each row, or the first."""
    grid: list[list[str]] = []
    for tr in _children(table, "tr"):
        cells: list[str] = []
        for tc in _children(tr, "tc"):
            span = _attribute(tc.find(f"{_W}tcPr/{_W}gridSpan")) or "1"
            merge = tc.find(f"{_W}tcPr/{_W}vMerge")
            own = "\n".join(_text(p).replace("\f", "\n") for p in tc.iter(f"{_W}p")).strip()
            if merge is not None and merge.get(f"{_W}val") != "restart":
                own = grid[-1][len(cells)] if filled_down and grid and len(cells) < len(grid[-1]) else ""
            cells += [own, *[""] * (min(int(span) if span.isdigit() else 1, 100) - 1)]
        grid.append(cells)
    return grid


def _form(grid: list[list[str]]) -> Iterator[Line]:
    """A form (反映人 | 张三 | 界别 | 经济) as labelled lines; any other table as its cells, one below the other."""
    for cells in grid:
        filled = [cell for cell in cells if cell]
        if len(filled) == 1 or not filled or field_of(filled[0]) is None:
            for cell in filled:
                head = f"{cell.rstrip('：:')}：" if field_of(cell) else cell
                yield from map(Line, head.split("\n"))
            continue
        for label, value in zip(filled[0::2], [*filled[1::2], ""], strict=False):
            first, *more = value.split("\n")
            yield Line(f"{label.rstrip('：:')}：{first}" if field_of(label) else f"{label} {first}".strip())
            yield from map(Line, more)
