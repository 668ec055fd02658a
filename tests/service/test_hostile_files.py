"""Files that are damaged, odd, or made to do harm: refused with a clear message, or harmless."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime
from typing import Any

import pytest
from openpyxl import Workbook

from nlp.errors import InputError
from service import archives, intake, sheets
from service.archives import ClassifiedFile, IntakeError, plain_name
from service.intake import Reading, read, rejects_csv, report, to_submission, understand
from service.sheets import Row
from service.store import Store
from tests.service.test_documents import docx, p, submissions

NS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def book(*tables: list[list[Any]], change: Any = None) -> bytes:
    made = Workbook()
    made.remove(made.worksheets[0])
    for number, rows in enumerate(tables, 1):
        sheet = made.create_sheet(f"表{number}")
        for row in rows:
            sheet.append(row)
    if change is not None:
        change(made)
    stream = io.BytesIO()
    made.save(stream)
    return stream.getvalue()


def edited(content: bytes, changes: dict[str, Any], added: dict[str, bytes] | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            part = before.read(name)
            after.writestr(name, changes[name](part) if name in changes else part)
        for name, part in (added or {}).items():
            after.writestr(name, part)
    return stream.getvalue()


PLAIN = [["编号", "正文"], ["1", "路灯坏了"], ["2", "井盖松动"]]
SHEET = "xl/worksheets/sheet1.xml"


def understood(content: bytes, name: str = "a.xlsx") -> Reading:
    return understand(name, content, {}, "s", "auto", 20_000)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest",
            "是旧版 Office、WPS 格式或设了打开密码，请另存为 .docx/.xlsx",
        ),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "请另存为 .docx/.xlsx"),
        ("a.txt", b"  %PDF-1.4", "是 PDF，请另存为"),
        ("a.doc", b"{\\rtf1 x", "是 RTF，请另存为"),
        ("a.wps", b"plain", "不支持 .wps 格式，请另存为"),
        ("a.et", b"plain", "不支持 .et 格式，请另存为"),
        ("a.docx", b"plain", "不是有效的 DOCX 文件"),
        ("a.exe", b"MZ", "无法识别的文件类型 '.exe'"),
        ("a.xlsx", b"PK\x03\x04broken", "文件已损坏，无法打开"),
    ],
)
def test_a_file_is_told_by_its_content(name: str, content: bytes, message: str) -> None:
    with pytest.raises(IntakeError, match="^" + name) as caught:
        read(name, content)
    assert message in str(caught.value)


def test_a_csv_that_is_xlsx_is_read_as_xlsx() -> None:
    assert [row.cells["正文"] for row in read("工单.csv", book(PLAIN)).rows] == ["路灯坏了", "井盖松动"]
    with pytest.raises(IntakeError, match="既不是 XLSX 也不是 DOCX"):
        read("a.xlsx", edited(docx(p("x")), {}, {})[:0] + _zip({"a.txt": b"x"}))


def _zip(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize("base", [book(PLAIN), docx(p("路灯坏了。"))], ids=["xlsx", "docx"])
def test_bombs_are_refused_before_they_are_unpacked(base: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("unpacked")

    nothing = b"\0" * (archives._JUDGED_FROM + 1)
    many = {f"xl/media/{n}": b"" for n in range(archives.MAX_ENTRIES)}
    bombs = [(edited(base, {}, {"xl/media/a": nothing}), "压缩比超过 200 倍"), (edited(base, {}, many), "最多 2000 个")]
    monkeypatch.setattr(zipfile.ZipFile, "read", forbidden)
    monkeypatch.setattr(zipfile.ZipFile, "open", forbidden)
    for content, message in bombs:
        with pytest.raises(IntakeError, match=message):
            read("a.xlsx", content)
    monkeypatch.setattr(archives, "MAX_UNPACKED", 100)
    with pytest.raises(IntakeError, match="展开后有 .* 字节，最多 100 字节"):
        read("a.xlsx", base)


def test_an_archive_within_is_never_opened() -> None:
    inner = _zip({"deep": b"\0" * 2**20})
    content = edited(
        docx(p("路灯坏了。")), {}, {"word/embeddings/a.zip": inner, "../../evil.xml": b"<x", "word/b.xml": b"<x"}
    )
    assert len(read("a.docx", content).rows) == 1


def test_a_size_that_lies_unpacks_no_more_than_it_says() -> None:
    content = bytearray(edited(docx(p("路灯坏了。")), {}, {"word/header1.xml": b" " * 5000 + b"<x/>"}))
    at = content.rindex(b"word/header1.xml")
    content[at - 46 + 24 : at - 46 + 28] = (10).to_bytes(4, "little")  # the size in the central directory
    with pytest.raises(IntakeError, match="word/header1.xml 无法读取"):
        read("a.docx", bytes(content))


@pytest.mark.parametrize("part", [SHEET, "xl/workbook.xml", "docProps/core.xml", "xl/styles.xml"])
def test_entities_in_a_workbook_are_refused(part: str) -> None:
    spoilt = edited(book(PLAIN), {part: _with_doctype})
    with pytest.raises(IntakeError, match="含有实体或文档类型定义"):
        read("a.xlsx", spoilt)


@pytest.mark.parametrize("part", ["word/document.xml", "word/styles.xml", "word/numbering.xml"])
def test_entities_in_a_document_are_refused(part: str) -> None:
    with pytest.raises(IntakeError, match=f"{part} 含有实体或文档类型定义"):
        read("a.docx", edited(docx(p("路灯坏了。")), {part: _with_doctype}))


def _with_doctype(xml: bytes) -> bytes:
    head, _, rest = xml.partition(b"?>") if xml.startswith(b"<?xml") else (b"", b"", xml)
    return (head + b"?>" if head else b"") + BOMB.encode() + rest


def test_damaged_parts_are_named() -> None:
    with pytest.raises(IntakeError, match="word/document.xml 无法读取（XML 有误）"):
        read("a.docx", edited(docx(p("x")), {"word/document.xml": lambda xml: xml[:-9]}))
    with pytest.raises(IntakeError, match="工作表“表1” 无法读取"):
        read("a.xlsx", edited(book(PLAIN), {SHEET: lambda xml: xml[:-9]}))
    without = _zip({"[Content_Types].xml": b"<x/>", "word/x.xml": b"<x/>"})
    with pytest.raises(IntakeError, match="word/document.xml 无法读取"):
        read("a.docx", without)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'<row r="2"', b'<row r="9999999"', "行号 9999999 超出 Excel 的范围"),
        (b'<c r="A2"', b'<c r="A99999999"', "单元格 A99999999 超出 Excel 的范围"),
        (b'<c r="A2"', b'<c r="XYZ2"', "单元格 XYZ2 超出 Excel 的范围"),
        (b'<row r="2"', b'<row r="1000000"', "超过 200000 行"),
    ],
)
def test_cells_beyond_any_sheet_are_refused(old: bytes, new: bytes, message: str) -> None:
    with pytest.raises(IntakeError, match=message):
        read("a.xlsx", edited(book(PLAIN), {SHEET: lambda xml: xml.replace(old, new)}))


def test_overlapping_merges_are_refused() -> None:
    merges = "<mergeCells>" + '<mergeCell ref="A1:A1048576"/>' * 600_000 + "</mergeCells>"
    rows = [*PLAIN, ["3", "x"]]
    spoilt = edited(book(rows), {SHEET: lambda xml: xml.replace(b"</sheetData>", b"</sheetData>" + merges.encode())})
    with pytest.raises(IntakeError, match="合并单元格互相重叠|压缩比"):
        read("a.xlsx", spoilt)


def test_ten_thousand_columns_are_refused() -> None:
    with pytest.raises(IntakeError, match="表头有 10001 列，最多 500 列"):
        read("a.csv", ("正文," + ",".join(f"c{n}" for n in range(10_000)) + "\n").encode())
    line = "{" + ",".join(f'"c{n}":1' for n in range(10_000)) + "}"
    with pytest.raises(IntakeError, match="共有 10000 个字段，最多 500 个"):
        read("a.jsonl", line.encode())


def test_a_cell_of_ten_megabytes_is_one_bad_row() -> None:
    reading = understood(("编号,正文\n1," + "字" * 3_500_000 + "\n2,路灯坏了\n").encode(), "a.csv")
    assert [s.external_id for s in submissions(reading)] == ["2"]
    assert [(r.field, r.detail) for r in reading.bad] == [("text", "最多 20000 个字符，实为 3500000 个")]


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "MAX_ROWS", 3)
    for name, content in (("a.csv", b"text\n1\n2\n3\n"), ("a.jsonl", b'{"text":"1"}\n' * 4)):
        with pytest.raises(IntakeError, match="超过 3 行，请分成几个文件"):
            read(name, content)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../x.csv", "x.csv"), ("C:\\temp\\x.csv", "x.csv"), ("a\0b\r\n.csv", "ab.csv"), ("", "未命名"), (None, "未命名"),
        ("..", "未命名"), ("/", "未命名"), ("工单.csv", "工单.csv"), ("x" * 300 + ".csv", "x" * 196 + ".csv"), ("a\ud800.csv", "a.csv"),
    ],
)  # fmt: skip
def test_names_like_paths_lose_their_folders(name: str | None, shown: str) -> None:
    assert plain_name(name) == shown


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "文件是空的，应有表头一行"),
        ("a.csv", b"\n\n,,\n", "文件是空的，应有表头一行"),
        ("a.csv", b"\xff\xfe\x00\xd8", "编码应为 UTF-8 或 GB18030"),
        ("a.xlsx", book([]), "工作表是空的"),
        ("a.txt", b"", "文件是空的"),
    ],
)
def test_empty_files(name: str, content: bytes, message: str) -> None:
    with pytest.raises(IntakeError, match=message):
        understood(content, name)


def test_a_header_alone_and_nothing_are_no_rows(store: Store) -> None:
    for name, content in (("a.csv", "编号,正文\n".encode()), ("a.xlsx", book(PLAIN[:1])), ("a.jsonl", b"\n")):
        assert report(understood(content, name), store)["read"] == 0


def test_utf16_as_excel_saves_unicode_text() -> None:
    assert read("a.tsv", "编号\t正文\n1\t路灯坏了\n".encode("utf-16")).rows[0].cells == {
        "编号": "1",
        "正文": "路灯坏了",
    }


def test_a_banner_above_the_header_and_merged_cells() -> None:
    def change(made: Any) -> None:
        sheet = made.worksheets[0]
        sheet.merge_cells("A1:C1")
        sheet.merge_cells("B3:B4")
        sheet.row_dimensions[4].hidden = True

    rows = [
        ["2024年社情民意信息台账"],
        ["编号", "来源", "正　文*"],
        ["1", "来电", "路灯坏了"],
        ["2", None, "井盖松动"],
        ["3", None, "油烟大"],
    ]
    reading = understand("a.xlsx", book(rows, change=change), {}, None, "auto", 1000)
    assert [(s.external_id, s.source) for s in submissions(reading)] == [("1", "来电"), ("2", "来电"), ("3", "import")]
    assert [item.row.number for item in reading.good] == [3, 4, 5]
    assert reading.sheet.notes == ("表头在第 2 行，此前的内容未导入", "有 1 行是隐藏的，也已读取")


def test_the_first_sheet_with_a_header_is_read_visible_ones_first() -> None:
    def hide(made: Any) -> None:
        made.worksheets[1].sheet_state = "hidden"

    sheet = read("a.xlsx", book([["填表说明"]], [["编号", "正文"], ["9", "旧的"]], PLAIN, [], change=hide))
    assert [row.cells["编号"] for row in sheet.rows] == ["1", "2"]
    assert sheet.notes == ("读取的是工作表“表3”", "其他有内容的工作表没有导入：“表1”、“表2”")


def test_formulas_and_errors_are_reported_where_they_matter() -> None:
    rows = [
        ["编号", "正文", "备注"],
        ["1", "=A1&B1", "x"],
        ["2", "井盖松动", "=A1"],
        ["3", "#REF!", ""],
        ["4", "路灯坏了", "#N/A"],
    ]
    reading = understood(book(rows))
    assert [s.external_id for s in submissions(reading)] == ["2", "4"]
    assert [(r.row.number, r.field) for r in reading.bad] == [(2, "text"), (4, "text")]
    assert "文件中没有它的计算结果，请用 Excel 打开并保存" in reading.bad[0].detail
    assert reading.bad[1].detail == "单元格是错误值 #REF!"
    assert "（单元格是错误值 #REF!）" in rejects_csv(reading.sheet.columns, reading.bad)


def test_dates_in_a_workbook_keep_their_time() -> None:
    rows = [
        ["正文", "日期"],
        ["a路灯", datetime(2019, 11, 10, 18, 59, 24)],  # noqa: DTZ001
        ["b路灯", 43779.79125],
        ["c路灯", "2019年11月10日 18时59分"],
        ["d路灯", "11月10日"],
    ]
    reading = understood(book(rows))
    assert [s.received_at for s in submissions(reading)] == [
        "2019-11-10T18:59:24+08:00", "2019-11-10T18:59:24+08:00", "2019-11-10T18:59:00+08:00",
    ]  # fmt: skip
    assert "没有年份" in reading.bad[0].detail


@pytest.mark.parametrize("place", ["header", "cell", "title", "comment"])
def test_marks_in_a_workbook(place: str) -> None:
    def change(made: Any) -> None:
        from openpyxl.comments import Comment

        sheet = made.worksheets[-1]
        if place == "header":
            sheet.oddFooter.center.text = '&"宋体"&12秘密★5年'
        elif place == "comment":
            sheet["A1"].comment = Comment("机密", "x")
        elif place == "cell":
            sheet["B2"] = "秘密★10年"

    last = [["秘密"], *PLAIN] if place == "title" else [["说明"], ["某事", "另一事"]]
    with pytest.raises(ClassifiedFile):
        read("a.xlsx", book(PLAIN, last, change=change))


def test_a_row_longer_than_its_header_loses_nothing() -> None:
    reading = understood("编号,正文\n1,路灯,坏了\n2,好\n".encode(), "a.csv")
    text = rejects_csv(reading.sheet.columns, reading.bad)
    assert text.splitlines() == ["编号,正文,多余内容,原行号,未导入原因", "1,路灯,坏了,2,row：应有 2 列，实有 3 列"]
    wide = understood(book([["编号", "正文"], ["1", "路灯", "坏了"]]))
    assert [(r.detail, r.row.surplus) for r in wide.bad] == [("有 3 列，表头只有 2 列", "坏了")]
    lines = understood(b'{"text":"x"\n', "a.jsonl")
    assert '{""text"":""x""' in rejects_csv(lines.sheet.columns, lines.bad)


def test_a_corrected_row_is_itself_again() -> None:
    original = "标题,日期,正文\n路灯,2024-05-06,坏了\n=1+1,昨天,+没人修\n".encode()
    first = understood(original, "a.csv")
    table = rejects_csv(first.sheet.columns, first.bad)
    assert "'=1+1" in table
    assert "'+没人修" in table
    [item] = understood(table.replace("昨天", "2024-05-07").encode(), "b.csv").good
    row, again = item.row, item.submission
    assert (row.number, again.title, again.text) == (3, "=1+1", "+没人修")
    whole = understood(original.replace("昨天".encode(), b"2024-05-07"), "a.csv")
    assert submissions(whole)[1] == again  # so the whole file, corrected, brings nothing twice


def test_the_report_tells_what_would_happen(store: Store) -> None:
    content = "编号,标题,日期,反映内容,答复内容,颜色\n1,a,2024-05-06,路灯坏了,已修,红\n1,a,2024-05-06,路灯坏了,,\n1,a,2024-05-06,路灯亮了,,\n2,a,,路灯坏了,,\n3,,,,,\n"
    told = report(understand("a.csv", content.encode(), {}, "s", "auto", 1000), store)
    assert {k: told[k] for k in ("read", "new", "revised", "unchanged", "rejected", "undated", "repeated")} == {
        "read": 5, "new": 2, "revised": 1, "unchanged": 1, "rejected": 1, "undated": 1, "repeated": 3,
    }  # fmt: skip
    assert told["columns"] == {
        "text": "反映内容",
        "title": "标题",
        "received_at": "日期",
        "external_id": "编号",
        "reply": "答复内容",
    }
    assert told["unmapped"] == ["颜色"]
    assert told["repeats"][-1] == {"row": 5, "earlier": 2, "same": "text"}
    assert told["notes"] == ["列“答复内容”是答复：1 件已有答复，其中没有办理过的登记为已办结"]
    assert (told["received_from"], told["received_to"]) == ("2024-05-06T00:00:00+08:00",) * 2
    assert [told["first"][n][name] for n in (0, 1) for name in ("text", "reply")] == [
        "路灯坏了",
        "已修",
        "路灯坏了",
        "",
    ]
    assert told["rejects"] == [{"row": 6, "field": "text", "detail": "内容为空"}]


def test_an_unclosed_quote_names_the_lines_it_swallows() -> None:
    reading = understood('编号,正文\n1,好\n2,"没有结尾\n3,好\n'.encode(), "a.csv")
    assert [r.detail for r in reading.bad] == [
        "不是有效的 CSV 行（文件第 3 至 4 行），请检查引号：unexpected end of data"
    ]


def test_a_file_too_large_is_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_FILE_BYTES", 5)
    (tmp_path / "a.csv").write_bytes(b"123456")
    with pytest.raises(IntakeError, match="文件有 6 字节，最多 5 字节"):
        intake.read_bytes(tmp_path / "a.csv")


def test_an_unreadable_cell_names_its_field() -> None:
    with pytest.raises(InputError, match="^title：坏"):
        to_submission(Row(2, {"a": sheets.Unreadable("坏"), "b": "x"}), {"title": "a", "text": "b"}, None, 100)
