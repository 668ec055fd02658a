from __future__ import annotations

import zipfile
from datetime import datetime
from pathlib import Path

import pytest
from openpyxl import Workbook

from nlp.errors import InputError
from service.archives import IntakeError
from service.columns import guess_columns
from service.dates import parse_date
from service.intake import read, read_bytes, to_submission
from service.sheets import Row

HEADER = "留言编号,留言主题,留言时间,留言详情"


def read_rows(path: Path) -> list[Row]:
    return list(read(str(path), read_bytes(path)).rows)


def _write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_csv_in_the_encodings_offices_use(tmp_path: Path, encoding: str) -> None:
    path = _write(tmp_path / "a.csv", f'{HEADER}\r\n1,路灯,2019/11/10 18:59:24,"坏了，\n没人修"\r\n', encoding)
    [row] = read_rows(path)
    assert row.number == 2
    assert row.cells["留言详情"] == "坏了，\n没人修"
    assert row.problem is None


def test_a_broken_csv_row_is_reported_and_the_good_ones_stay(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.csv", f"{HEADER}\n1,a,2019/1/1,好\n2,b,c\n3,d,2019/1/3,也好\n4,e,f,g,h\n")
    rows = read_rows(path)
    assert [(r.number, r.problem) for r in rows] == [
        (2, None), (3, "应有 4 列，实有 3 列"), (4, None), (5, "应有 4 列，实有 5 列"),
    ]  # fmt: skip


def test_an_unclosed_quote_is_reported(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.csv", f'{HEADER}\n1,a,2019/1/1,好\n2,b,2019/1/1,"没有结尾')
    assert [bool(r.problem) for r in read_rows(path)] == [False, True]


def test_xlsx_with_dates_and_numbers(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["编号", "标题", "收到日期", "正文"])
    sheet.append([12.0, "路灯", datetime(2024, 5, 6, 9, 30), "坏了没人修"])  # noqa: DTZ001
    sheet.append([None, None, None, None])
    sheet.append([13, None, 45418.5, "井盖松动"])
    book.save(tmp_path / "a.xlsx")
    rows = read_rows(tmp_path / "a.xlsx")
    mapping = guess_columns(list(rows[0].cells), {})
    found = [to_submission(row, mapping, "office", 1000) for row in rows]
    assert [(s.external_id, s.received_at) for s in found] == [
        ("12", "2024-05-06T09:30:00+08:00"),
        ("13", "2024-05-06T12:00:00+08:00"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"this is no workbook", "不是有效的 XLSX 文件"),
        ("a.xls", b"\xd0\xcf", "不支持 .xls 格式，请另存为 .docx/.xlsx"),
        ("a.pdf", b"%PDF", "是 PDF，请另存为 .docx/.xlsx"),
        ("a.csv", b"", "文件是空的"),
        ("a.csv", b"\x81\x20\xff\xff", "编码应为 UTF-8 或 GB18030"),
        ("a.csv", "编号,正文,正文\n".encode(), "表头有重复的列：正文"),
    ],
)
def test_an_unreadable_file_is_explained(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IntakeError) as caught:
        read_rows(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_file_and_an_empty_sheet(tmp_path: Path) -> None:
    with pytest.raises(IntakeError, match="文件无法读取"):
        read_rows(tmp_path / "none.csv")
    Workbook().save(tmp_path / "empty.xlsx")
    with pytest.raises(IntakeError, match="工作表是空的"):
        read_rows(tmp_path / "empty.xlsx")


def test_json_lines(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", '{"id":1,"text":"好"}\n{\n[1]\n')
    problems = [row.problem for row in read_rows(path)]
    assert problems[0] is None
    assert problems[1] is not None
    assert problems[1].startswith("不是有效的 JSON")
    assert problems[2] == "应为 JSON 对象，实为 list"


def test_columns_are_guessed_and_overridden() -> None:
    columns = HEADER.split(",")
    assert guess_columns(columns, {}) == {
        "text": "留言详情", "title": "留言主题", "received_at": "留言时间", "external_id": "留言编号",
    }  # fmt: skip
    assert guess_columns(columns, {"text": "留言主题"})["text"] == "留言主题"


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        (["a"], {}, "找不到正文所在的列，请用 --map text=列名 指定；文件的列为：a"),
        (["正文"], {"body": "正文"}, "中的字段 'body' 不存在"),
        (["正文"], {"text": "内容"}, "中的列 '内容' 不在文件中"),
    ],
)
def test_a_wrong_mapping_is_explained(columns: list[str], given: dict[str, str], message: str) -> None:
    with pytest.raises(IntakeError) as caught:
        guess_columns(columns, given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2019/11/10 18:59:24", "2019-11-10T18:59:24+08:00"),
        ("2019/1/2 8:05:00", "2019-01-02T08:05:00+08:00"),
        ("2018-12-26 10:13", "2018-12-26T10:13:00+08:00"),
        ("2019年11月10日", "2019-11-10T00:00:00+08:00"),
        ("43779.5", "2019-11-10T12:00:00+08:00"),
        (43779, "2019-11-10T00:00:00+08:00"),
        ("2024-05-06T01:30:00Z", "2024-05-06T01:30:00+00:00"),
        ("20240506", "2024-05-06T00:00:00+08:00"),
        (20240506.0, "2024-05-06T00:00:00+08:00"),
        ("", None),
        (None, None),
    ],
)
def test_dates(value: object, expected: str | None) -> None:
    assert parse_date(value) == expected


@pytest.mark.parametrize("value", ["昨天", "2024", "202412", "2019/13/45", "99999999999", "-5"])
def test_a_bad_date_names_the_field(value: str) -> None:
    with pytest.raises(InputError, match="^received_at：日期无法识别"):
        parse_date(value)


def test_without_an_id_the_row_itself_is_the_identity() -> None:
    mapping = {"text": "正文"}
    first = to_submission(Row(5, {"正文": "路灯坏了"}), mapping, None, 100)
    assert first == to_submission(Row(5, {"正文": "路灯坏了"}), mapping, None, 100)
    assert first.external_id.startswith("5-")
    assert first.external_id != to_submission(Row(6, {"正文": "路灯坏了"}), mapping, None, 100).external_id


def test_errors_name_the_field() -> None:
    with pytest.raises(InputError, match="^text：内容为空"):
        to_submission(Row(2, {"正文": ""}), {"text": "正文"}, None, 100)
    with pytest.raises(InputError, match="^external_id：最多 200 个字符"):
        to_submission(Row(2, {"正文": "好", "编号": "1" * 201}), {"text": "正文", "external_id": "编号"}, None, 100)
    with pytest.raises(InputError, match="^row：应有 4 列"):
        to_submission(Row(2, {}, "应有 4 列"), {"text": "正文"}, None, 100)


def test_an_xlsx_that_states_a_wrong_size_loses_no_row(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["编号", "正文"], ["1", "路灯坏了"], ["2", "井盖松动"]):
        sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "a.xlsx") as before, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as after:
        for item in before.namelist():
            after.writestr(item, before.read(item).replace(b'ref="A1:B3"', b'ref="A1"'))
    assert len(read_rows(tmp_path / "b.xlsx")) == 2


def test_empty_cells_beyond_the_header_do_no_harm(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.csv", "编号,正文\n1,路灯坏了,,\n")
    assert [r.problem for r in read_rows(path)] == [None]
