"""Documents and pasted text → ``Sheet`` with one row an item (社情民意信息).

A document becomes lines; the lines are split into items by the first rule that fits, or by the one asked for. What is
before the first item is told, never dropped in silence. The user sees the split before anything is stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

from nlp.errors import InputError
from service import secrecy
from service.archives import IntakeError
from service.columns import field_of, labels
from service.dates import parse_date
from service.sheets import Row, Sheet, decode

Split = Literal["auto", "whole", "chat", "headings", "titles", "labels", "pages", "numbers", "blocks"]
SPLITS: tuple[Split, ...] = get_args(Split)
_NAMES = {"whole": "整份作为一件", "chat": "按聊天记录的每一条", "headings": "按标题样式",
          "titles": "按“关于…的建议”等标题", "labels": "按“反映人：”等栏目",
          "pages": "按分页", "numbers": "按编号", "blocks": "按空行"}  # fmt: skip
# Column names of an item, by field.
ITEM_COLUMNS = {"title": "标题", "text": "正文", "received_at": "日期", "external_id": "编号", "source": "来源",
                "district": "区县", "address": "地址", "name": "反映人", "phone": "联系电话", "party": "党派",
                "sector": "界别", "kind": "反映人类型", "reply": "答复内容",
                "replied_at": "答复时间"}  # fmt: skip
_MAX_TITLE = 80
_MAX_ITEMS = 2000
_KINDS = "建议|提案|意见|情况|反映|思考|问题|请求|诉求|报告|信息|呼吁|议案|投诉|咨询|函"
_ABOUT = re.compile(rf"关于[^。；！？\n]{{2,70}}(?:{_KINDS})")
_NUMBERINGS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<cn>[一二三四五六七八九十百]+)[、.\uff0e]\s*(?P<rest>.*)",
        r"第(?P<cn>[一二三四五六七八九十百]+)[条件则篇][:：、\s]?\s*(?P<rest>.*)",
        r"(?P<n>\d{1,3})\s*(?:[、\uff0e)）]|[.](?!\d))\s*(?P<rest>.*)",
        r"[（(](?P<cn>[一二三四五六七八九十百]+)[)）]\s*(?P<rest>.*)",
        r"[（(](?P<n>\d{1,3})[)）]\s*(?P<rest>.*)",
        r"(?P<circled>[①-⑳])\s*(?P<rest>.*)",
    )
)
# Headings of the parts of one item, not of several items.
_SECTION = re.compile(
    r"(?:存在|主要|突出|几点|几个|相关|工作|目前|当前|具体|基本|面临|有关|产生|形成|下一步|的|及|和|与|、|对策|意见|建议|措施"
    r"|现状|情况|背景|问题|原因|成因|困难|案由|案据|理由|分析|做法|成效|思考|概况|结语|诉求|事由)+[:：。]?"
)
_COLLECTION = re.compile("汇总|汇编|清单|选编|摘编|台账|一览|第.{1,6}期")
_WHEN = r"\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?\s*(?:凌晨|早上|上午|中午|下午|晚上)?\s*\d{1,2}[:：]\d{2}(?:[:：]\d{2})?"
_CHAT = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?P<name>[^\s:：]{{1,20}})\s+(?P<when>{_WHEN})\s*[:：]?\s*(?P<said>.*)",
        rf"[\[【(（]?(?P<when>{_WHEN})[\]】)）]?\s+(?P<name>[^\s:：]{{1,20}})\s*(?:[:：]\s*(?P<said>.*))?",
    )
)
_LABEL = "|".join(r"\s*".join(map(re.escape, label)) for label in labels())
_LABELLED = re.compile(rf"\s*(?P<label>{_LABEL}|(?:工作|反映|报送)?单\s*位|委员|提案人|联名人)\s*[:：]\s*")
_SOLE_DATE = re.compile(r"\d{4}\s*[年/.-]\s*\d{1,2}\s*[月/.-]\s*\d{1,2}\s*日?")
_UNITS = frozenset({"单位", "反映单位", "报送单位"})
_MEMBERS = frozenset({"委员", "提案人"})
# Labels stand at the head or the foot of an item; in the midst of it the same words are part of a story.
_HEAD_LINES, _FOOT_LINES = 8, 5
_GREETING = re.compile(r".{0,30}(?:您好|你好|领导|书记|市长|主任)[！!:：，,。]?")


@dataclass(frozen=True)
class Line:
    """A line or paragraph. ``rank``: 0 title, 1 to 9 heading, None body; ``opens``: a page begins with it."""

    text: str
    rank: int | None = None
    opens: bool = False


def read_text(name: str, content: bytes, split: Split = "auto") -> Sheet:
    """Items of pasted or plain text; raises IntakeError."""
    text = decode(name, content)
    lines = [Line(line.strip(" \t\u3000\r\ufeff"), opens="\f" in line) for line in text.split("\n")]
    return items_of(name, lines, split, pasted=True)


def items_of(name: str, lines: Sequence[Line], split: Split, *, pasted: bool = False) -> Sheet:
    """The items that the lines hold, one row each; raises IntakeError, ClassifiedFile among them."""
    secrecy.refuse_lines(name, "", (line.text for line in lines))
    if not any(line.text for line in lines):
        raise IntakeError(f"{name}：文件是空的，没有可以读取的文字")
    rule, starts = _rule(lines, split, pasted)
    if not starts:
        raise IntakeError(f"{name}：无法{_NAMES[split]}分开，请换一种分法或选 auto")
    parts = [lines[a:b] for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
    items = [_item(part, rule) for part in parts if any(line.text for line in part)]
    titles = [item.get("标题") for item in items if item.get("正文")]
    listed = [item for item in items if not item.get("正文") and item.get("标题") in titles]
    items = [item for item in items if item not in listed]
    if len(items) > _MAX_ITEMS:
        raise IntakeError(f"{name}：分出了 {len(items)} 件，最多 {_MAX_ITEMS} 件")
    notes = [f"{_NAMES[rule]}，共 {len(items)} 件"]
    before = " ".join(line.text for line in lines[: starts[0]] if line.text)
    if before:
        notes.append(f"第一件之前的文字没有导入：{before[:100]}{'…' if len(before) > 100 else ''}")
    if listed:
        notes.append(f"开头的目录（{len(listed)} 个标题）没有导入")
    columns = tuple(c for c in ITEM_COLUMNS.values() if c == "正文" or any(c in item for item in items))
    return Sheet(columns, tuple(Row(n, item) for n, item in enumerate(items, 1)), "text", tuple(notes))


def _rule(lines: Sequence[Line], split: Split, pasted: bool) -> tuple[Split, list[int]]:
    """The rule by which to split, and the indexes of the lines with which items begin."""
    whole = [next((i for i, line in enumerate(lines) if line.text), 0)]
    rules: dict[Split, Callable[[Sequence[Line]], list[int]]] = {
        "chat": _chats, "headings": _headings, "titles": _titles, "labels": _repeated_labels, "pages": _pages,
        "numbers": _numbers, "blocks": _blocks,
    }  # fmt: skip
    if split == "whole":
        return "whole", whole
    if split != "auto":
        return split, rules[split](lines)
    titles = _titles(lines)
    for rule, find in rules.items():
        starts = find(lines)
        one = len(titles) == 1 or (lines[whole[0]].rank == 0 and not _COLLECTION.search(lines[whole[0]].text))
        if rule in {"headings", "numbers", "blocks"} and (_are_sections(lines, starts) or (one and rule != "headings")):
            continue
        if rule == "headings" and one and starts and lines[starts[0]].rank:
            continue  # headings under a single title are its parts
        if rule == "blocks" and (not pasted or any(_GREETING.fullmatch(lines[i].text) for i in starts)):
            continue
        if len(starts) > 1 or (rule == "chat" and starts == whole):
            return rule, starts
    return "whole", whole


def _are_sections(lines: Sequence[Line], starts: Sequence[int]) -> bool:
    return any(_SECTION.fullmatch(_unnumbered(lines[i].text)) for i in starts)


def _unnumbered(text: str) -> str:
    match = next((m for m in (pattern.fullmatch(text) for pattern in _NUMBERINGS) if m), None)
    return match["rest"] if match else text


def _is_title(text: str) -> bool:
    return len(text) <= _MAX_TITLE and bool(_ABOUT.fullmatch(_title_of(text)))


def _title_of(text: str) -> str:
    return _unnumbered(text).strip().strip("《》")


def _chats(lines: Sequence[Line]) -> list[int]:
    return [i for i, line in enumerate(lines) if _said(line.text)]


def _said(text: str) -> re.Match[str] | None:
    return next((m for m in (pattern.fullmatch(text) for pattern in _CHAT) if m), None)


def _headings(lines: Sequence[Line]) -> list[int]:
    for rank in sorted({line.rank for line in lines if line.rank is not None}):
        starts = [i for i, line in enumerate(lines) if line.rank == rank and line.text]
        if len(starts) > 1:
            return starts
    return []


def _titles(lines: Sequence[Line]) -> list[int]:
    """Lines that are titles, all numbered or none as the first: 一、关于…的问题 under a title is a part of its item."""
    found = [i for i, line in enumerate(lines) if _is_title(line.text)]
    numbered = [_unnumbered(lines[i].text) != lines[i].text for i in found]
    return [i for i, own in zip(found, numbered, strict=True) if own == numbered[0]]


def _repeated_labels(lines: Sequence[Line]) -> list[int]:
    first = next((m for m in (_LABELLED.match(line.text) for line in lines if line.text) if m), None)
    if first is None:
        return []
    label = re.sub(r"\s", "", first["label"])
    found = [(i, _LABELLED.match(line.text)) for i, line in enumerate(lines)]
    return [i for i, match in found if match and re.sub(r"\s", "", match["label"]) == label]


def _pages(lines: Sequence[Line]) -> list[int]:
    starts, wanted = [], True
    for index, line in enumerate(lines):
        wanted |= line.opens
        if wanted and line.text:
            starts.append(index)
            wanted = False
    plain = all(len(lines[i].text) <= 45 and lines[i].text[-1] not in "。，；、" for i in starts)
    return starts if plain and not _are_sections(lines, starts) else []


def _numbers(lines: Sequence[Line]) -> list[int]:
    for pattern in _NUMBERINGS:
        found = [(i, m) for i, m in enumerate(pattern.fullmatch(line.text) for line in lines) if m]
        if len(found) > 1 and [_value(m) for _, m in found] == list(range(1, len(found) + 1)):
            return [i for i, _ in found]
    return []


def _value(match: re.Match[str]) -> int:
    parts = match.groupdict()
    if parts.get("n"):
        return int(parts["n"])
    if parts.get("circled"):
        return ord(parts["circled"]) - ord("①") + 1
    tens, ten, ones = parts["cn"].rpartition("十")
    digits = "零一二三四五六七八九"
    if "百" in parts["cn"] or len(tens) > 1 or len(ones) > 1:
        return -1
    return (digits.find(tens) if tens else 1) * (10 if ten else 0) + (digits.find(ones) if ones else 0)


def _blocks(lines: Sequence[Line]) -> list[int]:
    return [i for i, line in enumerate(lines) if line.text and (i == 0 or not lines[i - 1].text)]


def _item(lines: Sequence[Line], rule: Split) -> dict[str, str]:
    """Cells of one item: its title, the labelled lines at its head and foot, and the rest as text."""
    filled = [line for line in lines if line.text]
    cells: dict[str, str] = {}
    said = _said(filled[0].text) if rule == "chat" else None
    if said:
        cells |= {"反映人": said["name"], "日期": said["when"]}
        body = [said["said"] or "", *(line.text for line in lines[1:])]
        return cells | {"正文": "\n".join(body).strip()}
    texts = [line.text for line in lines]
    first = next(i for i, text in enumerate(texts) if text)
    headed = filled[0].rank is not None or _is_title(filled[0].text)
    if headed or (len(filled) > 1 and _could_be_title(filled[0].text)):
        cells["标题"] = _title_of(texts[first])
        texts[first] = ""
    elif rule == "numbers":
        texts[first] = _unnumbered(texts[first])
    _take_labels(texts, cells)
    text = "\n".join(texts).strip()
    if "正文" in cells:
        text = f"{cells['正文']}\n{text}".strip()
    return cells | {"正文": re.sub(r"\n{2,}", "\n", text)}


def _could_be_title(text: str) -> bool:
    plain = _unnumbered(text)
    ends = plain[-1:] in "。，；、！？!?:：,;"
    return len(plain) <= 45 and not ends and not _LABELLED.match(plain) and not _SECTION.fullmatch(plain)


def _take_labels(texts: list[str], cells: dict[str, str]) -> None:
    """Move 反映人：… and the like from the head and foot of an item into its cells."""
    filled = [i for i, text in enumerate(texts) if text]
    foot = set(filled[-_FOOT_LINES:])
    for index in dict.fromkeys([*filled[:_HEAD_LINES], *filled[-_FOOT_LINES:]]):
        if "正文" in cells and index not in foot:  # what follows 正文： is the text itself, up to the foot
            continue
        found = _labelled(texts[index])
        if found and all(_free(column, value, cells) for column, value in found.items()):
            cells |= found
            texts[index] = ""
    last = next((i for i in reversed(filled) if texts[i]), None)
    if last is not None and "日期" not in cells and _SOLE_DATE.fullmatch(texts[last]):
        with suppress(InputError):
            parse_date(texts[last])
            cells["日期"], texts[last] = texts[last], ""


def _free(column: str, value: str, cells: Mapping[str, str]) -> bool:
    dated = column != "日期" or bool(re.match(r"\d", value) and len(value) <= 30)
    return column not in cells and dated and (column == "正文" or len(value) <= 200)


def _labelled(text: str) -> dict[str, str]:
    """Column → value of a line that consists of labelled values; empty where it is something else."""
    if not _LABELLED.match(text):
        return {}
    matches = [m for m in _LABELLED.finditer(text) if m.start() == 0 or text[m.start()] in " \t\u3000" or
               text[m.start() - 1] in "；;，,、"]  # fmt: skip
    found: dict[str, str] = {}
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        label = re.sub(r"\s", "", match["label"])
        field = field_of(label)
        if field in {"text", "reply"}:
            return found | {ITEM_COLUMNS[field]: text[match.end() :].strip()}
        value = text[match.end() : following.start() if following else None].strip(" \t\u3000；;，,")
        if field is not None:
            found[ITEM_COLUMNS[field]] = value
        elif label in _MEMBERS:
            found |= {"反映人": value, "反映人类型": "委员"}
        elif label in _UNITS and not any(field_of(re.sub(r"\s", "", m["label"])) == "name" for m in matches):
            found |= {"反映人": value, "反映人类型": "单位"}
        else:
            return {}  # 工作单位 beside a name has no field of its own: the line stays in the text
    return {column: value for column, value in found.items() if value}
