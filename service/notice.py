"""The 并案说明: one page that tells a superior or a submitter what was merged, why, and what each one adds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import jinja2

from nlp.pii import find_pii
from service import render
from service.duplicates import CaseView
from service.intake import CHINA

# What fits on one A4 page; what does not is counted, never left out in silence.
_LEAD_CHARS = 240
_ADDING = 8
_ADDED = 2
_ADDED_CHARS = 60
_NUMBERS = 40


def notice(view: CaseView, format: Literal["text", "html"]) -> str:
    """The notice as plain text or as an HTML page that Word opens; personal data starred out."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader,
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("notice.html" if format == "html" else "notice.txt").render(**_content(view))


def _content(view: CaseView) -> dict[str, Any]:
    detail = render.case_detail(view)
    lead, *others = [_member(material) for material in detail["materials"]]
    adding = [member for member in others if member["added"]]
    silent = [member["external_id"] for member in others if not member["added"]]
    for step in detail["events"]:  # written by staff, who may have copied a telephone number into it
        step["detail"]["reason"] = _without_pii(step["detail"]["reason"])
    merged = next(step for step in detail["events"] if step["kind"] == "merged")
    undone = [step for step in detail["events"] if step["kind"] == "unmerged"]
    return {
        "case": detail,
        "lead": lead | {"text": _cut(detail["materials"][0]["text"], _LEAD_CHARS)},
        "adding": adding[:_ADDING],
        "not_shown": [member["external_id"] for member in adding[_ADDING:]][:_NUMBERS],
        "not_shown_count": len(adding[_ADDING:]),
        "silent": silent[:_NUMBERS],
        "silent_count": len(silent),
        "follow_ups": [f.submission.external_id for m in view.members for f in m.follow_ups][:_NUMBERS],
        "merged": merged | {"date": _day(merged["at"])},
        "undone": undone[-1] | {"date": _day(undone[-1]["at"])} if undone else None,
    }


def _member(material: dict[str, Any]) -> dict[str, Any]:
    added = [_cut(one["text"], _ADDED_CHARS) for one in material["added"]]
    submitter = material["submitter"]
    return {
        "external_id": material["external_id"],
        "title": material["title"] or _cut(material["text"], 20),
        "date": _day(material["received_at"]),
        "submitter": "，".join(filter(None, (submitter["name"] or "反映人不明", submitter["sector"]))),
        "added": added[:_ADDED],
        "more": len(added[_ADDED:]),
    }


def _without_pii(text: str) -> str:
    spans = [{"field": "text", "start": start, "end": end} for start, end, _ in find_pii(text)]
    return render.masked(text, "text", spans)


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _day(moment: str | None) -> str:
    if moment is None:
        return "日期不明"
    day = datetime.fromisoformat(moment).astimezone(CHINA)
    return f"{day.year}年{day.month}月{day.day}日"
