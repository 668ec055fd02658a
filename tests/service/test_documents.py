from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

import pytest

from service.archives import ClassifiedFile, IntakeError
from service.documents import SPLITS
from service.intake import Reading, read, understand
from service.sheets import Sheet
from service.store import Submission

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
BREAK = '<w:r><w:br w:type="page"/></w:r>'


def p(text: str = "", style: str | None = None, extra: str = "", numbered: str | None = None, before: str = "") -> str:
    own = f'<w:pStyle w:val="{style}"/>' if style else ""
    own += f'<w:numPr><w:ilvl w:val="0"/><w:numId w:val="{numbered}"/></w:numPr>' if numbered else ""
    return f"<w:p><w:pPr>{own}{extra}</w:pPr>{before}<w:r><w:t>{escape(text)}</w:t></w:r></w:p>"


def tbl(*rows: Sequence[str]) -> str:
    cells = ["".join(c if c.startswith("<w:tc>") else f"<w:tc>{p(c)}</w:tc>" for c in row) for row in rows]
    return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"


def docx(*body: str, parts: dict[str, str] | None = None) -> bytes:
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{i}"><w:name w:val="{n}"/></w:style>'
        for i, n in (("a1", "Title"), ("1", "heading 1"), ("T", "toc 1"))
    )
    numbering = (
        '<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt w:val="chineseCounting"/></w:lvl></w:abstractNum>'
        '<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>'
    )
    files = {
        "[Content_Types].xml": "<Types/>",
        "word/document.xml": f'<w:document xmlns:w="{W}"><w:body>{"".join(body)}</w:body></w:document>',
        "word/styles.xml": f'<w:styles xmlns:w="{W}">{styles}</w:styles>',
        "word/numbering.xml": f'<w:numbering xmlns:w="{W}">{numbering}</w:numbering>',
        **(parts or {}),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def pasted(text: str, split: Any = "auto") -> Sheet:
    return read("粘贴.txt", text.encode(), split=split)


def items(sheet: Sheet) -> list[tuple[str, str]]:
    return [(row.cells.get("标题", ""), row.cells["正文"]) for row in sheet.rows]


def submissions(reading: Reading) -> list[Submission]:
    return [item.submission for item in reading.good]


def understood(content: bytes, name: str = "a.docx") -> Reading:
    return understand(name, content, {}, "s", "auto", 20_000)


ONE = """关于在地铁口增设雨棚的建议
反映人：王芳　界别：经济界　联系电话：13812345678
日期：2024年5月6日

一、存在的问题
雨天乘客无处避雨。
二、建议
在出口加装雨棚。"""


def test_one_item_with_sections_stays_one() -> None:
    sheet = pasted(ONE)
    [row] = sheet.rows
    assert dict(row.cells) == {
        "标题": "关于在地铁口增设雨棚的建议", "反映人": "王芳", "界别": "经济界", "联系电话": "13812345678",
        "日期": "2024年5月6日", "正文": "一、存在的问题\n雨天乘客无处避雨。\n二、建议\n在出口加装雨棚。",
    }  # fmt: skip
    assert sheet.notes == ("整份作为一件，共 1 件",)
    [submission] = submissions(understand("a.txt", ONE.encode(), {}, "会议", "auto", 1000))
    assert submission.submitter.sector == "经济界"
    assert submission.received_at == "2024-05-06T00:00:00+08:00"


def test_several_titles_are_several_items() -> None:
    text = "社情民意信息汇总\n" + ONE + "\n关于治理油烟的提案\n委员：李四\n烧烤店油烟扰民。\n2024年6月1日"
    sheet = pasted(text)
    assert [title for title, _ in items(sheet)] == ["关于在地铁口增设雨棚的建议", "关于治理油烟的提案"]
    assert sheet.rows[1].cells["反映人类型"] == "委员"
    assert sheet.rows[1].cells["日期"] == "2024年6月1日"
    assert sheet.notes == ("按“关于…的建议”等标题，共 2 件", "第一件之前的文字没有导入：社情民意信息汇总")


def test_numbered_titles_and_titled_sections() -> None:
    assert len(pasted("一、关于增设路灯的建议\n没有路灯。\n二、关于治理油烟的建议\n油烟大。").rows) == 2
    [row] = pasted("关于加强停车管理的建议\n一、关于停车难的问题\n车位少。\n二、关于收费的建议\n降价。").rows
    assert row.cells["标题"] == "关于加强停车管理的建议"


def test_a_table_of_contents_is_no_item() -> None:
    text = "关于增设路灯的建议\n关于治理油烟的建议\n关于增设路灯的建议\n没有路灯。\n关于治理油烟的建议\n油烟大。"
    sheet = pasted(text)
    assert items(sheet) == [("关于增设路灯的建议", "没有路灯。"), ("关于治理油烟的建议", "油烟大。")]
    assert sheet.notes[-1] == "开头的目录（2 个标题）没有导入"


@pytest.mark.parametrize(
    "text",
    [
        "1. 路灯坏了半个月没人修。\n2. 井盖松动，走路很危险。\n3. 烧烤店油烟扰民。",
        "1、路灯坏了半个月没人修。\n2、井盖松动，走路很危险。\n3、烧烤店油烟扰民。",
        "本周居民反映：\n一、路灯坏了半个月没人修。\n二、井盖松动，走路很危险。\n三、烧烤店油烟扰民。",
        "（一）路灯坏了半个月没人修。\n（二）井盖松动，走路很危险。\n（三）烧烤店油烟扰民。",
        "①路灯坏了半个月没人修。\n②井盖松动，走路很危险。\n③烧烤店油烟扰民。",
        "第一条 路灯坏了半个月没人修。\n第二条 井盖松动，走路很危险。\n第三条 烧烤店油烟扰民。",
        "路灯坏了半个月没人修。\n\n井盖松动，走路很危险。\n\n烧烤店油烟扰民。",
    ],
)
def test_numbered_lists_and_blank_lines(text: str) -> None:
    assert items(pasted(text)) == [
        ("", "路灯坏了半个月没人修。"),
        ("", "井盖松动，走路很危险。"),
        ("", "烧烤店油烟扰民。"),
    ]


def test_numbers_beyond_ten_and_numbers_that_do_not_count() -> None:
    numerals = ["一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二"]
    assert len(pasted("\n".join(f"{n}、第{n}盏路灯坏了。" for n in numerals)).rows) == 12
    assert len(pasted("3.5公里长的路坏了\n1. 修路灯\n1. 修井盖").rows) == 1


def test_a_letter_with_paragraphs_stays_one() -> None:
    assert len(pasted("尊敬的领导：\n\n小区路灯坏了。\n\n请尽快修理。").rows) == 1
    assert len(pasted("领导您好！\n\n小区路灯坏了。\n\n请尽快修理。").rows) == 1


@pytest.mark.parametrize(
    "text",
    [
        "张三 2024-05-06 12:30: 路灯坏了\n还没人修\n李四 2024-05-06 12:31:05: 井盖松动",
        "张三 2024-05-06 12:30:01\n路灯坏了\n还没人修\n\n李四 2024年5月6日 下午3:20\n井盖松动",
        "[2024/5/6 12:30] 张三：路灯坏了\n还没人修\n[2024/5/6 12:31] 李四：井盖松动",
    ],
)
def test_chat_pastes(text: str) -> None:
    reading = understood(text.encode(), "群聊.txt")
    assert not reading.bad
    assert [s.submitter.name for s in submissions(reading)] == ["张三", "李四"]
    assert [s.text for s in submissions(reading)] == ["路灯坏了\n还没人修", "井盖松动"]
    assert all((s.received_at or "").startswith("2024-05-06T1") for s in submissions(reading))


def test_labels_that_come_again_part_the_items() -> None:
    text = "标题：路灯\n反映单位：某街道办\n内容：路灯坏了，\n没人修。\n日期：11月10日\n标题：油烟\n内容：烧烤店油烟。\n工作单位：某公司"
    reading = understood(text.encode(), "a.txt")
    [second] = submissions(reading)
    assert (second.title, second.text) == ("油烟", "烧烤店油烟。\n工作单位：某公司")
    [bad] = reading.bad
    assert "没有年份" in bad.detail
    assert bad.row.cells["反映人"] == "某街道办"
    assert bad.row.cells["反映人类型"] == "单位"
    assert bad.row.cells["正文"] == "路灯坏了，\n没人修。"


def test_labels_in_a_story_stay_in_it() -> None:
    story = "\n".join(f"第{n}天夜里很吵" for n in range(20))
    [(_, text)] = items(pasted(f"{story}\n时间：每天晚上十点\n地点：楼下\n{story}"))
    assert "地点：楼下" in text
    assert "时间：每天晚上十点" in text


@pytest.mark.parametrize("split", SPLITS)
def test_the_user_has_the_last_word(split: str) -> None:
    text = "1. 路灯坏了\n没人修\n\n2. 井盖松动"
    if split in {"auto", "whole", "numbers", "blocks"}:
        assert len(pasted(text, split).rows) == (1 if split == "whole" else 2)
    elif split == "pages":
        assert len(pasted(text, split).rows) == 1
    else:
        with pytest.raises(IntakeError, match="分开，请换一种分法或选 auto"):
            pasted(text, split)


def test_too_many_items_and_none() -> None:
    with pytest.raises(IntakeError, match="分出了 2001 件，最多 2000 件"):
        pasted("\n\n".join(f"第{n}盏路灯坏了" for n in range(2001)))
    with pytest.raises(IntakeError, match="文件是空的，没有可以读取的文字"):
        pasted(" \n\u3000\n")


def test_a_document_is_split_at_its_styles() -> None:
    content = docx(
        p("汇编", "a1"), p("目录一……1", "T"), p("路灯的事", "1"), p("路灯坏了。"), p("油烟的事", "1"), p("油烟大。")
    )
    sheet = read("a.docx", content)
    assert items(sheet) == [("路灯的事", "路灯坏了。"), ("油烟的事", "油烟大。")]
    assert sheet.notes == ("按标题样式，共 2 件", "第一件之前的文字没有导入：汇编")


def test_headings_under_a_single_title_are_its_parts() -> None:
    content = docx(p("关于增设路灯的建议", "a1"), p("加快建设", "1"), p("多装。"), p("加强维护", "1"), p("勤修。"))
    assert items(read("a.docx", content)) == [("关于增设路灯的建议", "加快建设\n多装。\n加强维护\n勤修。")]
    sections = docx(p("现状", "1"), p("路灯坏了。"), p("对策建议", "1"), p("勤修。"))
    assert len(read("a.docx", sections).rows) == 1


def test_a_document_is_split_at_its_pages() -> None:
    content = docx(p("路灯不亮"), p("路灯坏了。"), p("油烟扰民", before=BREAK), p("油烟大。"),
                   p("井盖松动", extra="<w:pageBreakBefore/>"), p("很危险。"))  # fmt: skip
    assert items(read("a.docx", content)) == [
        ("路灯不亮", "路灯坏了。"),
        ("油烟扰民", "油烟大。"),
        ("井盖松动", "很危险。"),
    ]
    section = docx(p("路灯不亮"), p("路灯坏了。", extra="<w:sectPr/>"), p("油烟扰民"), p("油烟大。"))
    assert len(read("a.docx", section).rows) == 2
    long = docx(p("路灯不亮"), p("路灯坏了，"), p("还是没有人来修，", before=BREAK), p("请尽快。"))
    assert len(read("a.docx", long).rows) == 1


def test_numbers_that_word_counts_itself() -> None:
    content = docx(p("路灯坏了，没人修。", numbered="1"), p("油烟大，没人管。", numbered="1"))
    assert items(read("a.docx", content)) == [("", "路灯坏了，没人修。"), ("", "油烟大，没人管。")]
    bullets = docx(p("路灯坏了，没人修。", numbered="2"), p("油烟大，没人管。", numbered="2"))
    assert len(read("a.docx", bullets).rows) == 1


def test_a_table_with_a_header_is_rows() -> None:
    merged = '<w:tc><w:tcPr><w:vMerge w:val="restart"/></w:tcPr>' + p("来电") + "</w:tc>"
    below = "<w:tc><w:tcPr><w:vMerge/></w:tcPr>" + p() + "</w:tc>"
    table = tbl(
        ["编号", "来源", "反映内容", "备注"],
        ["1", merged, "路灯坏了", "x"],
        ["2", below, "油烟大", ""],
        ["", "", "", ""],
    )
    sheet = read("a.docx", docx(p("五月汇总"), table))
    reading = understand("a.docx", docx(table), {}, None, "auto", 1000)
    assert [(s.external_id, s.source, s.text) for s in submissions(reading)] == [
        ("1", "来电", "路灯坏了"),
        ("2", "来电", "油烟大"),
    ]
    assert sheet.notes == ("读取的是表格，共 2 行", "表格之外的文字没有导入：五月汇总")
    narrow = docx(tbl(["反映内容", "备注"], ["路灯坏了", "x"], ["油烟大", "y"]))
    assert [row.cells["反映内容"] for row in read("a.docx", narrow).rows] == ["路灯坏了", "油烟大"]


def test_forms_are_items() -> None:
    forms = [
        tbl(["标题", title], ["反映人", "张三", "界别", "经济界"], ["内容", text])
        for title, text in (("路灯", "坏了。"), ("油烟", "很大。"))
    ]
    reading = understood(docx(*forms))
    assert [(s.title, s.text, s.submitter.name, s.submitter.sector) for s in submissions(reading)] == [
        ("路灯", "坏了。", "张三", "经济界"), ("油烟", "很大。", "张三", "经济界"),
    ]  # fmt: skip


def test_only_what_is_read_counts() -> None:
    deleted = "<w:p><w:r><w:t>路灯</w:t></w:r><w:del><w:r><w:delText>没</w:delText></w:r></w:del><w:ins><w:r><w:t>坏了</w:t></w:r></w:ins></w:p>"
    box = f"<w:p><w:r><w:txbxContent>{p('边栏')}</w:txbxContent></w:r><w:r><w:t>请修理</w:t></w:r></w:p>"
    control = f"<w:sdt><w:sdtContent>{p('谢谢。')}</w:sdtContent></w:sdt>"
    sheet = read("a.docx", docx(deleted, box, control), split="whole")
    assert items(sheet) == [("路灯坏了", "请修理\n谢谢。")]
    assert sheet.notes[-1] == "文本框中的文字没有导入"


def test_the_strict_form_and_a_main_part_of_another_name() -> None:
    with zipfile.ZipFile(io.BytesIO(docx(p("路灯坏了。")))) as before:
        files = {n: before.read(n) for n in before.namelist()}
    body = files.pop("word/document.xml").replace(W.encode(), b"http://purl.oclc.org/ooxml/wordprocessingml/main")
    files["word/document2.xml"] = body
    files["_rels/.rels"] = (
        b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        b'<Relationship Id="r" Type="http://x/officeDocument" Target="/word/document2.xml"/></Relationships>'
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert items(read("a.docx", stream.getvalue())) == [("", "路灯坏了。")]


@pytest.mark.parametrize("body", ["", "<w:p/>"])
def test_an_empty_document(body: str) -> None:
    with pytest.raises(IntakeError, match="文件是空的"):
        read("a.docx", docx(body))


MARKS = ["秘密★5年", "机密★", "绝密", "密级：秘密", "密级：机密★10年", "【秘密】", "秘密5年", "机密级", "工作秘密", "内部资料注意保密",
         "内部资料 注意保密", "内部资料，注意保密", "秘 密 ★ 5 年", "某市政协办公室    秘密★长期    第3期", "〔2024〕3号\t机密"]  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
def test_a_marked_text_is_refused_whole(mark: str) -> None:
    with pytest.raises(ClassifiedFile, match="带有密级标志.*整个文件不予导入"):
        pasted(f"关于路灯的建议\n{mark}\n路灯坏了。")
    with pytest.raises(ClassifiedFile):
        read("a.docx", docx(p(mark), p("路灯坏了。")))
    footer = f'<w:ftr xmlns:w="{W}">{p(mark)}</w:ftr>'
    with pytest.raises(ClassifiedFile, match="页眉页脚"):
        read("a.docx", docx(p("路灯坏了。"), parts={"word/footer1.xml": footer}))
    with pytest.raises(ClassifiedFile, match="文本框"):
        read("a.docx", docx(f"<w:p><w:r><w:txbxContent>{p(mark)}</w:txbxContent></w:r></w:p>", p("路灯坏了。")))


@pytest.mark.parametrize(
    "sentence",
    [
        "他们把收费标准当成秘密。", "这是秘密 不能说", "商业秘密怎样保护", "秘密5年来无人知晓", "内部资料外泄，请注意保密。", "机密文件被当废纸卖",
        "关于加强商业秘密保护的建议", "绝密地下停车场的事", "评为五★的小区", "这是秘密\n★请尽快", "内部停车", "内部资料",
    ],
)  # fmt: skip
def test_the_word_in_a_sentence_is_no_mark(sentence: str) -> None:
    assert pasted(f"关于路灯的建议\n{sentence}\n路灯坏了。").rows
    assert read("a.docx", docx(p(sentence), p("路灯坏了。"))).rows
    assert read("a.csv", f"标题,内容\n{sentence},路灯坏了\n".encode()).rows


def test_marks_in_tables() -> None:
    table = "密级,标题,内容\n{},{},{}\n"
    assert read("a.csv", table.format("公开", "秘密", "路灯坏了").encode()).rows  # a title, not a mark
    for cells in (
        ("秘密", "a", "b"),
        ("", "秘密★5年", "b"),
        ("", "a", '"路灯坏了\n密级：机密"'),
        ("", "a", "内部资料注意保密"),
    ):
        with pytest.raises(ClassifiedFile, match="第 2 行"):
            read("a.csv", table.format(*cells).encode())
    with pytest.raises(ClassifiedFile, match="表头之前"):
        read("a.csv", "机密,,\n密级,标题,内容\n,a,b\n".encode())
    with pytest.raises(ClassifiedFile):
        read("a.jsonl", '{"密级":"机密","text":"b"}'.encode())
    with pytest.raises(ClassifiedFile, match="表格第 2 行"):
        read("a.docx", docx(tbl(["密级", "内容"], ["秘密", "路灯坏了"])))
    with pytest.raises(ClassifiedFile):
        read("a.docx", docx(p("秘密"), tbl(["编号", "内容"], ["1", "路灯坏了"])))
