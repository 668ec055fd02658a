"""Columns of a file → fields of a submission: guessed from the headers that offices use, or given by hand."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from service.archives import IntakeError

# Field → headers that name it, the likeliest first.
Headers = Mapping[str, tuple[str, ...]]
_HEADERS: dict[str, tuple[str, ...]] = {
    "text": (
        "text", "正文", "内容", "留言详情", "留言内容", "诉求内容", "来电内容", "来信内容", "工单内容", "工单描述",
        "反映内容", "信息内容", "提案内容", "建议内容", "问题描述", "具体内容", "主要内容", "详细内容", "内容描述",
        "诉求描述", "反映事项",
    ),
    "title": ("title", "标题", "主题", "留言主题", "留言标题", "工单标题", "信息标题", "提案标题", "题目", "案由"),
    "received_at": (
        "received_at", "收到日期", "收到时间", "留言时间", "来电时间", "来信日期", "受理时间", "受理日期", "登记时间",
        "登记日期", "反映时间", "反映日期", "报送日期", "报送时间", "提交日期", "提交时间", "日期", "时间",
    ),
    "external_id": (
        "external_id", "id", "编号", "留言编号", "工单编号", "工单号", "提案编号", "信息编号", "受理编号", "序号",
    ),
    "source": ("source", "来源", "信息来源", "诉求来源"),
    "district": ("district", "区(市、县)", "区县", "所属区县", "区县市", "所属区域", "区域"),
    "address": ("address", "地址", "事发地址", "事发地点", "地点"),
    "name": (
        "name", "反映人", "反映人/单位", "反映人姓名", "姓名", "留言用户", "留言人", "来电人", "来信人", "诉求人",
        "投诉人", "提交人", "信息员",
    ),
    "phone": ("phone", "联系电话", "电话", "手机", "手机号", "手机号码", "联系方式", "来电号码"),
    "party": ("party", "党派"),
    "sector": ("sector", "界别"),
    "kind": ("kind", "反映人类型", "人员类别"),
    "reply": (
        "reply", "答复内容", "答复意见", "答复", "答复详情", "回复内容", "回复意见", "回复", "回复详情",
        "官方回复", "办理结果", "办理情况", "处理结果",
    ),
    "replied_at": (
        "replied_at", "答复时间", "答复日期", "回复时间", "回复日期", "办结时间", "办结日期",
    ),
}  # fmt: skip
COLUMNS = tuple(_HEADERS)
# What a submission is made of; the rest is of the reply that its source gave.
FIELDS = tuple(name for name in COLUMNS if name not in {"reply", "replied_at"})
_TEXT = ("text", "正文")
# The heading may stand below a banner such as 2024年社情民意信息台账.
_HEADER_WITHIN = 10
_FOLD = str.maketrans({"（": "(", "）": ")", "：": None, ":": None, "*": None, "\uff0a": None, "\uff0f": "/"})


def field_of(header: str) -> str | None:
    """The field that a header or label names, spacing and width aside; None for one we do not know."""
    return _field_of(header, _HEADERS)


def _field_of(header: str, known: Headers) -> str | None:
    plain = re.sub(r"[\s\u3000]+", "", header).translate(_FOLD).lower()
    return next((name for name, headers in known.items() if plain in headers), None)


def labels() -> list[str]:
    """The Chinese headers, as labels of a line (反映人：…), longest first."""
    known = {header for headers in _HEADERS.values() for header in headers if not header.isascii()}
    return sorted(known, key=lambda header: (-len(header), header))


def header_at(lines: Sequence[Sequence[str]], wanted: Collection[str]) -> int | None:
    """Index of the line that is the header: it has all ``wanted`` columns, or where none are wanted one for the text.

    None where none of the first lines is recognised.
    """
    filled = [index for index, cells in enumerate(lines) if any(cell.strip() for cell in cells)]
    for index in filled[:_HEADER_WITHIN]:
        names = {form for cell in lines[index] for form in (cell.strip(), "".join(cell.split()))}
        if set(wanted) <= names if wanted else any(field_of(name) == "text" for name in names):
            return index
    return None


def guess_columns(
    columns: Sequence[str], given: Mapping[str, str], headers: Headers = _HEADERS, needed: tuple[str, str] = _TEXT
) -> dict[str, str]:
    """Field → column: what was given, and for the other fields a column whose header says so.

    ``needed``: a field and what it is called. Raises IntakeError for an unknown field or column, and where no column
    holds what is needed.
    """
    for name, column in given.items():
        if name not in headers:
            raise IntakeError(f"列对应（--map）中的字段 {name!r} 不存在，应为 {'、'.join(headers)} 之一")
        if column not in columns:
            raise IntakeError(f"列对应（--map）中的列 {column!r} 不在文件中，文件的列为：{_shown(columns)}")
    mapping = dict(given)
    found = [(column, _field_of(column, headers)) for column in columns if column not in given.values()]
    for name, known in headers.items():
        candidates = [column for column, field in found if field == name]
        if name not in mapping and candidates:
            order = {header: rank for rank, header in enumerate(known)}
            mapping[name] = min(candidates, key=lambda c, o=order: o.get(c.strip().lower(), len(o)))  # type: ignore[misc]
    field, called = needed
    if field not in mapping:
        raise IntakeError(f"找不到{called}所在的列，请用 --map {field}=列名 指定；文件的列为：{_shown(columns)}")
    return mapping


def read_mapping(text: str) -> dict[str, str]:
    """``field=column,…`` as a mapping; raises IntakeError."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    for name, separator, column in pairs:
        if not separator or not column.strip():
            raise IntakeError(f"列对应（--map）应为 字段=列名，实为 {name!r}")
    return {name.strip(): column.strip() for name, _, column in pairs}


def _shown(columns: Sequence[str]) -> str:
    # A file without a header shows its first row here: say little of it, it may be personal.
    return "、".join(column[:12] for column in columns[:20])
