"""Bulletins, the roster and the results as plain data, the same for command line and HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nlp.normalise import normalise
from nlp.pii import find_pii
from service import render
from service.bulletins import Bulletin, Bulletins, Text
from service.fields import ADOPTED_BY
from service.points import Entry
from service.results import BY, Performance, Place, Record, Results, Tally
from service.roster import Member


def bulletin(found: Bulletin) -> dict[str, Any]:
    """A bulletin without its text, for lists."""
    own = {name: getattr(found, name) for name in ("id", "series", "state", "version", "issue", "issued_on")}
    text = found.text
    return {**own, "title": text.title, "recipients": list(text.recipients), "sources": list(text.sources)}


def bulletin_detail(bulletins: Bulletins, found: Bulletin) -> dict[str, Any]:
    """A bulletin as it is edited: nothing starred out, but the personal data in it pointed at."""
    history = render.events(bulletins.history(found.id))
    return {**bulletin(found), "body": found.text.body, "pii": _pii(found.text), "events": history}


def version(number: int, version: int, text: Text) -> dict[str, Any]:
    """One version."""
    return {"id": number, "version": version, **asdict(text)}


def _pii(text: Text) -> list[dict[str, Any]]:
    found = []
    for field in ("title", "body"):
        normalised = normalise(getattr(text, field))
        for start, end, label in find_pii(normalised.text):
            a, b = normalised.original(start, end)
            found.append({"field": field, "start": a, "end": b, "label": label})
    return found


def member(found: Member) -> dict[str, Any]:
    """One of the roster."""
    return {"id": found.id, **asdict(found.person)}


def report(found: Results) -> dict[str, Any]:
    """The 采用通报."""
    adopted = [
        {**_record(r), "members": list(r.credit.members), "level": h.level, "form": h.form, "issue": h.issue,
         "date": h.day.isoformat(), "event": h.event}
        for r, h in found.adopted
    ]  # fmt: skip
    rankings = {by: [_place(place) for place in found.ranking(by)] for by in BY}
    return {"scope": _scope(found), "totals": _counts(found.everybody), "rankings": rankings, "adopted": adopted,
            **_open(found)}  # fmt: skip


def members(found: Results) -> dict[str, Any]:
    """The 履职 of each."""
    items = [_performance(found, one) for one in found.performances]
    return {"scope": _scope(found), "items": items, **_open(found)}


def _scope(found: Results) -> dict[str, Any]:
    days = {"from": found.scope.first.isoformat(), "to": found.scope.last.isoformat()}
    known = {"as_of": found.scope.as_of, "term": found.scope.term}
    return {**days, **known, "points_sha256": found.table.sha256}


def _counts(tally: Tally) -> dict[str, Any]:
    plain = {name: len(numbers) for name, numbers in tally.items() if not name.startswith("adopted ")}
    return {**plain, "adopted": {level: len(tally[f"adopted {level}"]) for level in ADOPTED_BY}}


def _place(place: Place) -> dict[str, Any]:
    own = {name: getattr(place, name) for name in ("rank", "name", "people", "member")}
    return {**own, **_counts(place.tally), "points": float(place.points)}


def _performance(found: Results, one: Performance) -> dict[str, Any]:
    entries = [_entry(found, entry) for entry in one.entries]
    return {"member": member(one.member), **_counts(one.tally), "points": float(one.points), "entries": entries}


def _entry(found: Results, entry: Entry) -> dict[str, Any]:
    h = entry.happening
    own = {name: getattr(h, name) for name in ("event", "kind", "level", "form", "issue")}
    where = {"submission": h.number, "number": found.numbers[h.number], "date": h.day.isoformat()}
    return {**where, **own, "points": float(entry.points), "note": entry.why}


def _open(found: Results) -> dict[str, Any]:
    undecided = [{**_record(r), "reason": r.credit.doubt, "candidates": list(r.credit.candidates)}
                 for r in found.undecided]  # fmt: skip
    unlisted = [{**_record(r), "reason": f"名册中没有：{'、'.join(r.credit.unlisted)}", "candidates": []}
                for r in found.unlisted]  # fmt: skip
    return {"undecided": undecided, "unlisted": unlisted}


def _record(record: Record) -> dict[str, Any]:
    return {"id": record.id, "number": record.number, "title": record.title}
