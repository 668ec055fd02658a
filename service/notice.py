"""Papers of one page.

The 并案说明: what was merged, why, and what each one adds. The 转办依据: who should handle a submission, and why.
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import jinja2

from nlp.routing import Proposal
from nlp.taxonomy import Taxonomy
from service import render
from service.cases import NotFound
from service.dates import CHINA
from service.duplicates import CaseView
from service.store import Stored

# What fits on one A4 page at the worst; what does not is counted, never left out in silence. Lengths in characters.
_LEAD = 120
_CONTENT = 400
_TITLE = 40
_REASON = 100
_ADDING = 5
_ADDED = 2
_ADDED_LENGTH = 36
_NUMBERS_LENGTH = 110
_NUMBER_LENGTH = 30


def notice(view: CaseView, format: Literal["text", "html"]) -> str:
    """The notice as plain text or as an HTML page that Word opens; personal data starred out."""
    return _page("notice", format, _content(view))


def routing_notice(
    item: Stored, found: Proposal, taxonomy: Taxonomy, day: date, format: Literal["text", "html"]
) -> str:
    """The 转办依据 of a stored submission by the table of ``day``; personal data starred out.

    Number, date, district and street stand: whoever is to handle it must find it. Who needs the door opens the contact.
    """
    shown = render.stored(item)
    matter = taxonomy.matter_by_id.get(found.matter)
    content = {
        "material": {**_member({**shown, "added": []}), "text": _cut(shown["text"], _CONTENT)},
        "place": _cut("，".join(filter(None, (shown["district"], shown["address"]))), 60) or "未填写",
        "matter": matter.name if matter else found.matter,
        "found": render.proposal(found),
        "day": f"{day.year}年{day.month}月{day.day}日",
    }
    return _page("routing_notice", format, content)


def _page(name: str, format: Literal["text", "html"], content: dict[str, Any]) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader,
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{value:.0%}"
    return environment.get_template(f"{name}.html" if format == "html" else f"{name}.txt").render(**content)


def _content(view: CaseView) -> dict[str, Any]:
    detail = render.case_detail(view)
    if not view.members:
        raise NotFound("case", f"并案 {detail['id']} 的材料均已删除，没有可以说明的内容")
    lead, *others = [_member(material) for material in detail["materials"]]
    adding = [member for member in others if member["added"]]
    merged = next(step for step in detail["events"] if step["kind"] == "merged")
    undone = [step for step in detail["events"] if step["kind"] == "unmerged"]
    return {
        "case": detail,
        "lead": lead | {"text": _cut(detail["materials"][0]["text"], _LEAD)},
        "adding": adding[:_ADDING],
        "others_adding": _numbers([member["number"] for member in adding[_ADDING:]]),
        "silent": _numbers([member["number"] for member in others if not member["added"]]),
        "follow_ups": _numbers([f.submission.external_id for m in view.members for f in m.follow_ups]),
        "merged": _step(merged),
        "undone": _step(undone[-1]) if undone and (detail["left"] or detail["state"] == "undone") else None,
    }


def _member(material: dict[str, Any]) -> dict[str, Any]:
    added = [_cut(one["text"], _ADDED_LENGTH) for one in material["added"]]
    submitter = material["submitter"]
    return {
        "number": _cut(material["external_id"], _NUMBER_LENGTH),
        "title": _cut(material["title"], _TITLE),
        "date": _day(material["received_at"]),
        "submitter": _cut("，".join(filter(None, (submitter["name"] or "反映人不明", submitter["sector"]))), 20),
        "added": added[:_ADDED],
        "more": len(added[_ADDED:]),
    }


def _step(event: dict[str, Any]) -> dict[str, Any]:
    """Who, when and why."""
    reason = _cut(event["detail"]["reason"], _REASON)
    whole = event["detail"].get("whole", True)
    return {"actor": _cut(event["actor"], 20), "date": _day(event["at"]), "reason": reason, "whole": whole}


def _numbers(numbers: list[str]) -> dict[str, Any]:
    """As many of the numbers as fit, and how many there are."""
    shown: list[str] = []
    for number in numbers:
        if shown and sum(len(one) + 1 for one in shown) + len(number) > _NUMBERS_LENGTH:
            break
        shown.append(_cut(number, _NUMBER_LENGTH))
    return {"text": "、".join(shown) + ("等" if len(shown) < len(numbers) else ""), "count": len(numbers)}


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _day(moment: str | None) -> str:
    if moment is None:
        return "日期不明"
    day = datetime.fromisoformat(moment).astimezone(CHINA)
    return f"{day.year}年{day.month}月{day.day}日"
