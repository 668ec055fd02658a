"""What the inbox shows, as plain data: lines, the machine's reasons, and what is near; personal data starred out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service import render
from service.agreement import Drift, Report
from service.duplicates import Near
from service.steps import Standing
from service.store import Stored

# Characters of the text that a line of the inbox shows.
_SUMMARY = 120


def analysis(item: Stored) -> dict[str, Any]:
    """What the machine said of a stored submission, with the reasons; its quotations masked as the text is."""
    found, fields = item.analysis or {}, render.masked_fields(item)

    def quoted(span: Mapping[str, Any]) -> dict[str, Any]:
        return {**span, "text": fields[span["field"]][span["start"] : span["end"]]}

    plain: dict[str, Any] = {
        name: found.get(name) for name in ("primary", "confidence", "decision", "reason", "matter")
    }
    plain |= {name: found.get(name, []) for name in ("secondary", "themes", "matters")}
    plain["evidence"] = [quoted(one) for one in found.get("evidence", [])]
    plain["urgent"] = quoted(found["urgent"]["span"]) if found.get("urgent") else None
    plain["request_type"] = (found.get("request_type") or {}).get("kind")
    return plain


def waiting(item: Stored, found: Standing, membership: tuple[int, int] | None) -> dict[str, Any]:
    """A line of the inbox. ``membership``: its open case and that one's lead."""
    whole, urgent = render.stored(item), analysis(item)["urgent"]
    own = ("id", "external_id", "source", "title", "received_at", "district", "district_named", "primary", "matter",
           "confidence", "decision", "corrected")  # fmt: skip
    case, lead = membership or (None, None)
    return {
        **{name: whole[name] for name in own},
        "summary": whole["text"][:_SUMMARY],
        "urgent": urgent and urgent["text"],
        "case": case,
        "lead": lead,
        "standing": render.standing(found),
    }


def near(item: Stored, found: Near, where: Standing) -> dict[str, Any]:
    """What is near a stored submission; of both, only what is masked is shown."""
    one, own = found.candidate, render.masked_fields(item)
    graded = render.grade(one.comparison, render.masked_fields(one.stored))
    for told, conflict in zip(graded["conflicts"], one.comparison.conflicts, strict=True):
        told["a"] = own[conflict.a.field][conflict.a.start : conflict.a.end]
    for told, match in zip(graded["shared"], one.comparison.shared, strict=True):
        told["a_text"] = own[match.a.field][match.a.start : match.a.end]
    shown = ("id", "external_id", "source", "title", "text", "received_at")
    whole = render.stored(one.stored)
    return {
        **{name: whole[name] for name in shown},
        "score": round(one.score, 6),
        **graded,
        "case": one.case,
        "same_submitter": found.same_submitter,
        "standing": render.standing(where),
    }


def drift(report: Report) -> dict[str, Any]:
    """By month, the share of submissions for review and that of words unknown, with the band of the months before."""
    review = [_drift(one) | {"review": round(one.share * one.submissions)} for one in report.review]
    return {"drift": review, "unknown_words": [_drift(one) for one in report.unknown_words]}


def _drift(one: Drift) -> dict[str, Any]:
    return {
        "month": one.month,
        "submissions": one.submissions,
        "share": round(one.share, 4),
        "band": one.band and [round(edge, 4) for edge in one.band],
        "outside": one.outside,
    }
