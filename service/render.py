"""Results as plain data, the same for command line, HTTP and store. Field names are the published contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from nlp.contracts import Span
from nlp.errors import InputError
from service.cases import PUBLIC_KINDS
from service.engine import Analysed, Similar
from service.store import Stored

_MAX_ID = 200
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
    return {"id": identity, "error": {"type": error.type, "field": error.field, "detail": error.detail}}


def answer(analysed: Analysed) -> dict[str, Any]:
    """The answer to one submission, without its id."""
    c, document = analysed.classification, analysed.document
    plain: dict[str, Any] = {"primary": c.primary, "confidence": c.confidence, "decision": c.decision}
    if c.reason is not None:
        plain["reason"] = c.reason
    return plain | {
        "matter": c.matter,
        "secondary": list(c.secondary),
        "themes": [asdict(score) for score in c.themes],
        "matters": [asdict(score) for score in c.matters],
        "evidence": [asdict(evidence) for evidence in c.evidence],
        "entities": [_span(span) for span in document.entities],
        "pii": [_span(span) for span in document.pii],
        "keywords": list(c.keywords),
        "urgent": None if analysed.urgent is None else {"span": _span(analysed.urgent)},
        "model": c.model,
    }


def _span(span: Span) -> dict[str, Any]:
    return {key: value for key, value in asdict(span).items() if value is not None}


def masked(text: str, field: str, spans: Iterable[Mapping[str, Any]]) -> str:
    """``text`` with the personal data of this field starred out, length kept so that offsets still hold."""
    characters = list(text)
    for span in spans:
        if span["field"] == field:
            characters[span["start"] : span["end"]] = "*" * (span["end"] - span["start"])
    return "".join(characters)


def _unnamed(text: str, item: Stored) -> str:
    """``text`` without the submitter's own name, length kept; those who act in public keep theirs."""
    name = (item.submission.submitter.name or "").strip()
    if len(name) < 2 or item.submission.submitter.kind in PUBLIC_KINDS:
        return text
    return text.replace(name, name[0] + "*" * (len(name) - 1))


def similar(found: Similar) -> dict[str, Any]:
    """A similar stored submission. ``shared`` pairs offsets in the query's text and in the stored text."""
    submission, pii = found.stored.submission, [_span(span) for span in found.document.pii]
    text = _unnamed(masked(submission.text, "text", pii), found.stored)
    return {
        "id": found.stored.id,
        "external_id": submission.external_id,
        "source": submission.source,
        "title": _unnamed(masked(submission.title, "title", pii), found.stored),
        "text": text,
        "received_at": submission.received_at,
        "score": round(found.score, 6),
        # Grading duplicates and naming conflicts is not done yet; the members keep their place.
        "relation": None,
        "conflicts": [],
        "shared": [
            {
                "a": [match.a.start, match.a.end],
                "b": [match.b.start, match.b.end],
                "a_text": match.a.text,
                "b_text": text[match.b.start : match.b.end],
                "score": round(match.score, 6),
            }
            for match in found.matches
        ],
    }


def stored(item: Stored) -> dict[str, Any]:
    """A stored submission with its analysis; personal data starred out."""
    submission, analysis = item.submission, item.analysis or {}
    pii = analysis.get("pii", [])
    submitter = asdict(submission.submitter)
    if submitter["name"] and submitter["kind"] not in PUBLIC_KINDS:
        submitter["name"] = submitter["name"][0] + "*" * (len(submitter["name"]) - 1)
    if submitter["phone"]:
        shown = min(4, len(submitter["phone"]) // 2)
        submitter["phone"] = (
            "*" * (len(submitter["phone"]) - shown) + submitter["phone"][len(submitter["phone"]) - shown :]
        )
    return {
        "id": item.id,
        "source": submission.source,
        "external_id": submission.external_id,
        "title": _unnamed(masked(submission.title, "title", pii), item),
        "text": _unnamed(masked(submission.text, "text", pii), item),
        "received_at": submission.received_at,
        "district": submission.district,
        "address": submission.address,
        "submitter": submitter,
        **{key: analysis.get(key) for key in ("primary", "confidence", "decision", "matter", "secondary", "model")},
    }
