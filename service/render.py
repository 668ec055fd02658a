"""Results as plain data, the same for command line, HTTP and store. Field names are the published contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nlp.contracts import Comparison, Span
from nlp.errors import InputError
from nlp.names import given_name
from nlp.pii import mask
from nlp.units import Unit
from service.cases import Outline
from service.lifecycle import Correction
from service.steps import STEPS, Standing, possible
from service.store import Revision, Stored
from service.voices import PUBLIC_KINDS

if TYPE_CHECKING:  # the command line starts with this module: what loads the models' libraries waits till it is needed
    from nlp.routing import Proposal
    from service.duplicates import Candidate, CaseView, Received, Suggestions
    from service.engine import Analysed, Similar

_MAX_ID = 200
# The grades as officials say them.
GRADES = {"duplicate": "重复", "related": "相关", "unrelated": "无关"}
# The columns of an export, in order.
COLUMNS = ("id", "source", "external_id", "title", "text", "received_at", "district", "address", "submitter", "primary",
           "confidence", "decision", "matter", "secondary", "model")  # fmt: skip


def item_id(value: object) -> str | int | None:
    """The caller's id, to be echoed unchanged; raises InputError where it cannot be one."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if not isinstance(value, str):
        raise InputError("invalid_type", "id", f"应为文字或整数，实为 {type(value).__name__}")
    if len(value) > _MAX_ID or any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
        raise InputError("invalid_value", "id", f"应为不超过 {_MAX_ID} 个字符的有效文字")
    return value


def failed(identity: str | int | None, error: InputError) -> dict[str, Any]:
    """An item that could not be processed."""
    return {"id": identity, "error": {"type": error.type, "field": error.field, "detail": mask(error.detail)}}


def answer(analysed: Analysed) -> dict[str, Any]:
    """The answer to one submission, without its id."""
    c, document, s = analysed.classification, analysed.document, analysed.screening
    plain: dict[str, Any] = {"primary": c.primary, "confidence": c.confidence, "decision": c.decision}
    if c.reason is not None:
        plain["reason"] = c.reason
    return plain | {
        "matter": c.matter,
        "secondary": list(c.secondary),
        "themes": [asdict(score) for score in c.themes],
        "matters": [asdict(score) for score in c.matters],
        "evidence": [asdict(evidence) for evidence in c.evidence],
        "district": document.district,
        "entities": [_span(span) for span in document.entities],
        "pii": [_span(span) for span in document.pii],
        "keywords": list(c.keywords),
        "urgent": None if s.urgent is None else {"span": _span(s.urgent)},
        "request_type": {"kind": s.kind, "confidence": s.confidence, "span": _span(s.cue)},
        "flags": [{"kind": flag.kind, "channel": flag.channel, "span": _span(flag.span)} for flag in s.flags],
        "model": c.model,
    }


def proposal(found: Proposal) -> dict[str, Any]:
    """拟办意见: the proposed units, why, and what else it may be."""
    referral = found.referral
    return {
        "lead": None if found.lead is None else _unit(found.lead),
        "support": [_unit(unit) for unit in found.support],
        "reason": found.reason,
        "basis": found.basis,
        "matter": found.matter or None,
        "variant": found.variant or None,
        "place": found.place.names[0] if found.place.unit else None,
        "cues": [_span(span) for span in found.cues],
        "source": found.source,
        "confidence": found.confidence,
        "probability": round(found.probability, 6),
        "alternatives": [_unit(one.unit) | {"probability": round(one.probability, 6)} for one in found.alternatives],
        "referral": referral and {"kind": referral.kind, "channel": referral.channel, "reason": referral.reason},
    }


def _unit(unit: Unit) -> dict[str, Any]:
    return {"id": unit.id, "name": unit.name}


def _span(span: Span) -> dict[str, Any]:
    return {key: value for key, value in asdict(span).items() if value is not None}


def masked_fields(item: Stored) -> dict[str, str]:
    """Title and text of a stored submission with the personal data in them starred out, lengths kept.

    Found anew each time, not taken from the stored analysis: a better rule then holds for what was stored before it.
    """
    submission, public = item.submission, _is_public(item)
    fields = {"title": submission.title, "text": submission.text}
    return {field: mask(value, submission.submitter.name, public=public) for field, value in fields.items()}


def reply(item: Stored, text: str) -> str:
    """A reply to a stored submission, the personal data in it starred out."""
    return mask(text, item.submission.submitter.name, public=_is_public(item))


def _is_public(item: Stored) -> bool:
    return item.submission.submitter.kind in PUBLIC_KINDS


def _submitter(item: Stored) -> dict[str, Any]:
    submitter = asdict(item.submission.submitter)
    if submitter["name"] and not _is_public(item):
        first, last = given_name(submitter["name"])
        submitter["name"] = submitter["name"][:first] + "*" * (last - first) + submitter["name"][last:]
    if submitter["phone"]:
        hidden = len(submitter["phone"]) - min(4, len(submitter["phone"]) // 2)
        submitter["phone"] = "*" * hidden + submitter["phone"][hidden:]
    return submitter


def events(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Steps with their reasons; staff may have copied a telephone number into one."""
    return [
        {**event, "detail": {k: mask(v) if isinstance(v, str) else v for k, v in event["detail"].items()}}
        for event in history
    ]


def similar(found: Similar) -> dict[str, Any]:
    """A similar stored submission. ``shared`` pairs offsets in the query's text and in the stored text."""
    submission, fields = found.stored.submission, masked_fields(found.stored)
    return {
        "id": found.stored.id,
        "external_id": submission.external_id,
        "source": submission.source,
        **fields,
        "received_at": submission.received_at,
        "score": round(found.score, 6),
        **grade(found.comparison, fields),
    }


def comparison(found: Comparison) -> dict[str, Any]:
    """The grade of two texts of the caller's own."""
    return {
        "relation": found.relation,
        "probability": _probability(found),
        "conflicts": [{"kind": c.kind, "a": c.a.text, "b": c.b.text} for c in found.conflicts],
        "shared": [{"a": [m.a.start, m.a.end], "b": [m.b.start, m.b.end]} for m in found.shared],
    }


def _probability(found: Comparison) -> dict[str, float]:
    grades = {"duplicate": found.duplicate, "related": found.related, "unrelated": found.unrelated}
    return {grade: round(p, 6) for grade, p in grades.items()}


def grade(found: Comparison | None, fields: Mapping[str, str]) -> dict[str, Any]:
    """The grade of a query and a stored text, of which only the masked ``fields`` may be shown."""
    if found is None:
        return {"relation": None, "probability": None, "conflicts": [], "shared": []}
    return {
        "relation": found.relation,
        "probability": _probability(found),
        "conflicts": _conflicts(found, fields),
        "shared": [
            {
                "a": [match.a.start, match.a.end],
                "b": [match.b.start, match.b.end],
                "a_text": match.a.text,
                "b_text": fields[match.b.field][match.b.start : match.b.end],
                "score": round(match.score, 6),
            }
            for match in found.shared
        ],
    }


def _conflicts(found: Comparison, fields: Mapping[str, str]) -> list[dict[str, str]]:
    """Conflicts with a stored text, of which only the masked ``fields`` may be shown."""
    return [{"kind": c.kind, "a": c.a.text, "b": fields[c.b.field][c.b.start : c.b.end]} for c in found.conflicts]


def stored(item: Stored) -> dict[str, Any]:
    """A stored submission with its analysis; personal data starred out."""
    submission, analysis = item.submission, item.analysis or {}
    return {
        "id": item.id,
        "source": submission.source,
        "external_id": submission.external_id,
        **masked_fields(item),
        "received_at": submission.received_at,
        "district": submission.district,
        "district_named": item.district_named,
        "address": submission.address and mask(submission.address, resident=not _is_public(item)),
        "submitter": _submitter(item),
        **{key: analysis.get(key) for key in ("primary", "confidence", "decision", "matter", "secondary", "model")},
        **_decided(item),
    }


def detail(
    item: Stored, relations: Mapping[str, Any], history: Iterable[Mapping[str, Any]], revisions: Iterable[Revision]
) -> dict[str, Any]:
    """A stored submission with all that is known of it; personal data starred out, in former contents too."""
    shown = ("title", "text", "received_at", "district", "address", "submitter")
    former = []
    for one in revisions:
        before = stored(Stored(item.id, one.submission, None))
        former.append({"revision": one.number, "replaced_at": one.replaced_at} | {name: before[name] for name in shown})
    return {
        **stored(item),
        "erased_at": item.erased_at,
        **relations,
        "revisions": former,
        "events": events(history),
    }


def opened(item: Stored) -> dict[str, Any]:
    """What was received, nothing starred out: only for a reading that was recorded."""
    submission = item.submission
    names = ("external_id", "title", "text", "address")
    shown = {name: getattr(submission, name) for name in names}
    return {"id": item.id, **shown, "submitter": asdict(submission.submitter)}


def _decided(item: Stored) -> dict[str, Any]:
    """What people decided, in place of what the machine said; its confidence was in something else."""
    if item.theme is None:
        return {"corrected": False}
    secondary = [theme for theme in (item.analysis or {}).get("secondary", []) if theme != item.theme]
    judged = {"primary": item.theme, "matter": item.matter or None, "secondary": secondary}
    return {**judged, "confidence": None, "decision": "accept", "corrected": True}


def standing(found: Standing) -> dict[str, Any]:
    """Where a submission stands, and the steps a person may take now."""
    own = ("theme", "matter", "unit", "corrected", "before")  # shown with the submission, or nobody's business
    plain = {name: value for name, value in asdict(found).items() if name not in own}
    plain["parts"] = [{"matter": matter, "unit": unit} for matter, unit in found.parts]
    return {**plain, "possible": [{"kind": kind, "name": STEPS[kind].name} for kind in possible(found)]}


def correction(item: Stored, found: Correction) -> dict[str, Any]:
    """What people decided of a submission, with its text: personal data starred out."""
    decided = {name: value for name, value in asdict(found).items() if name != "number"}
    words = mask(found.reason)
    return {"id": item.id, "external_id": item.submission.external_id, **masked_fields(item), **decided,
            "reason": words}  # fmt: skip


def brief(item: Stored) -> dict[str, Any]:
    """What tells one stored submission from another in a list; personal data starred out."""
    keys = ("id", "external_id", "source", "title", "received_at", "submitter")
    whole = stored(item)
    return {key: whole[key] for key in keys}


def received(identity: str | int | None, external_id: str, found: Received) -> dict[str, Any]:
    """What became of a submission, and what may be its duplicates."""
    return {
        "id": identity,
        "submission_id": found.number,
        "external_id": external_id,
        "outcome": found.outcome,
        "duplicates": [_candidate(one) for one in found.duplicates],
        "follows": None if found.follows is None else _candidate(found.follows),
    }


def _candidate(found: Candidate) -> dict[str, Any]:
    fields, grade = masked_fields(found.stored), found.comparison
    return {
        "id": found.stored.id,
        "external_id": found.stored.submission.external_id,
        "title": fields["title"],
        "relation": grade.relation,
        "probability": round(grade.duplicate, 6),
        "conflicts": _conflicts(grade, fields),
        "score": round(found.score, 6),
        "case": found.case,
    }


def case(outline: Outline) -> dict[str, Any]:
    """A case and its counts."""
    found = outline.case
    return {
        "id": found.id,
        "state": found.state,
        "lead": found.lead,
        "members": list(found.members),
        "left": list(found.left),
        "erased": list(outline.erased),
        "count": outline.count,
        "voices": outline.voices,
        "follow_ups": list(outline.follow_ups),
        "opened_at": found.opened_at,
        "closed_at": found.closed_at,
    }


def case_detail(view: CaseView) -> dict[str, Any]:
    """A case with every member, what it adds, and all steps; personal data starred out."""
    materials = []
    for member in view.members:
        fields = masked_fields(member.stored)
        added = [
            {
                "field": span.field,
                "start": span.start,
                "end": span.end,
                "text": fields[span.field][span.start : span.end],
            }
            for span in member.added
        ]
        follow_ups = [item.id for item in member.follow_ups]
        materials.append({**stored(member.stored), "added": added, "follow_ups": follow_ups})
    return {**case(view.outline), "materials": materials, "events": events(view.history)}


def suggestions(found: Suggestions, limit: int) -> dict[str, Any]:
    """The ``limit`` largest suggested cases, how many there are, and the suggested follow-ups."""
    items = [
        {
            "lead": one.members[0].id,
            "members": [member.id for member in one.members],
            "count": len(one.members),
            "voices": one.voices,
            "probability": round(one.probability, 6),
            "case": one.case,
            "materials": [brief(member) for member in one.members],
        }
        for one in found.cases[:limit]
    ]
    follows = [
        {"id": f.stored.id, "earlier": f.earlier.id, "probability": round(f.probability, 6)} for f in found.follows
    ]
    return {"items": items, "total": len(found.cases), "follows": follows}
