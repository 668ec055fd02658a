"""The history of a submission in words that people read: when, who, what, why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from nlp.pii import mask
from nlp.taxonomy import Taxonomy
from service.dates import CHINA
from service.steps import STEPS, Event

_ACTORS = {"machine": "机器", "import": "导入", "api": "接口"}
_FIELDS = {"title": "标题", "text": "正文", "district": "区（市、县）", "address": "地址", "received_at": "收到日期",
           "submitter": "反映人"}  # fmt: skip
Detail = Mapping[str, Any]
Names = Mapping[str, str]


def names_of(taxonomy: Taxonomy) -> dict[str, str]:
    """Id → name of all themes and matters, as the timeline says them."""
    matters = {matter.id: matter.name for matter in taxonomy.matters}
    return matters | {theme.id: theme.name for theme in taxonomy.themes}


def timeline(events: Iterable[Event], names: Names) -> list[dict[str, Any]]:
    """One entry an event, in their order: ``at`` in China's time, to the minute; personal data starred out."""
    return [
        {
            "id": event.id,
            "at": datetime.fromisoformat(event.at).astimezone(CHINA).strftime("%Y-%m-%d %H:%M"),
            "actor": _ACTORS.get(event.actor, event.actor),
            "kind": event.kind,
            "what": mask(_what(event, names)),
            "reason": mask(str(event.detail.get("reason", ""))),
        }
        for event in events
    ]


def _what(event: Event, names: Names) -> str:
    said = _WORDS.get(event.kind)
    step = STEPS.get(event.kind)
    return said(event.detail, names) if said else step.name if step else event.kind


def _routed(detail: Detail, _names: Names) -> str:
    support = f"（协办：{'、'.join(detail['support'])}）" if detail["support"] else ""
    return f"转办至{detail['unit']}{support}{_within(detail)}"


def _split(detail: Detail, names: Names) -> str:
    parts = "；".join(f"{names.get(part['matter'], part['matter'])} → {part['unit']}" for part in detail["parts"])
    return f"分办：{parts}{_within(detail)}"


def _within(detail: Detail) -> str:
    override = f"；曾退单仍派回：{detail['override']}" if detail.get("override") else ""
    return f"，办理时限 {detail['days']} 个工作日，至 {detail['due']}{override}"


def _corrected(detail: Detail, names: Names) -> str:
    before = detail["before"]
    told = []
    for field, word in (("theme", "主题"), ("matter", "细类"), ("unit", "单位")):
        if field in detail:
            was, now = (names.get(one, one) or "未定" for one in (before.get(field), detail[field]))
            told.append(f"{word}仍为{now}" if was == now else f"{word}由{was}改为{now}")
    return f"更正：{'，'.join(told)}"


def _adopted(detail: Detail, _names: Names) -> str:
    return f"采用：{' '.join(detail[name] for name in ('level', 'form', 'issue') if detail.get(name))}{_when(detail)}"


def _when(detail: Detail) -> str:
    return f"（{detail['happened_on']}）" if detail.get("happened_on") else ""


def _visited(detail: Detail, _names: Names) -> str:
    return f"回访：{detail['rating']}" if detail.get("rating") else "回访"


def _revised(detail: Detail, _names: Names) -> str:
    fields = "、".join(_FIELDS.get(name, name) for name in detail.get("fields", ()))
    return f"修改{fields}" if fields else "来源内容有变，已更新"


def _replied(detail: Detail, _names: Names) -> str:
    day = detail["replied_at"] and datetime.fromisoformat(detail["replied_at"]).astimezone(CHINA).date()
    return f"来源已答复（{day or '日期不详'}）"


def _with_note(word: str) -> Callable[[Detail, Names], str]:
    names = ("level", "note")
    return lambda d, _: f"{word}：{'，'.join(d[name] for name in names if d.get(name))}".rstrip("：") + _when(d)


_WORDS: dict[str, Callable[[Detail, Names], str]] = {
    "received": lambda d, _: f"收到（来源：{d['source']}）",
    "analysed": lambda d, _: f"机器分析（{d['model']}）",
    "replied": _replied,
    "revised": _revised,
    "registered": lambda d, _: f"登记，编号 {d['number']}",
    "routed": _routed,
    "split": _split,
    "returned": lambda d, _: f"{d['by_unit']}退单" if d.get("by_unit") else "退回反映人",
    "extended": lambda d, _: f"延期至 {d['due']}（{d['approved_by']}批准）",
    "closed": lambda d, _: f"办结：{d['result']}",
    "visited": _visited,
    "rated": lambda d, _: f"评价：{d['rating']}",
    "adopted": _adopted,
    "instructed": _with_note("批示"),
    "implemented": _with_note("采纳落实"),
    "retracted": lambda d, _: f"撤销 {d['event']} 号记录（{STEPS[d['of']].name}）",
    "credited": lambda d, _: (
        f"认定反映人：名册 {'、'.join(map(str, d['persons']))} 号" if d["persons"] else "认定反映人：不是名册中的人"
    ),
    "issued": lambda d, _: f"编发：{d['issue']}",
    "unissued": lambda d, _: f"撤回编发：{d['issue']}",
    "noted": _with_note("备注"),
    "withdrawn": lambda d, _: "反映人撤回",
    "corrected": _corrected,
    "merged": lambda d, _: f"并入并案 {d['case']}（主件 {d['lead']} 号）",
    "unmerged": lambda d, _: f"并案 {d['case']} 撤销" if d["whole"] else f"撤出并案 {d['case']}",
    "follows": lambda d, _: f"登记为 {d['earlier']} 号的续报",
    "unfollowed": lambda d, _: f"解除与 {d['earlier']} 号的续报关系",
}
