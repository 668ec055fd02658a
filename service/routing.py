"""Proposals of units for raw items and for stored submissions, by the table of the day in China."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from nlp.contracts import FloatArray, MatterScore
from nlp.document import Analyser, Document
from nlp.errors import InputError
from nlp.normalise import validate
from nlp.routing import Proposal
from nlp.units import Unit
from service import render
from service.batch import checked
from service.dates import CHINA
from service.engine import Analysed, Engine, Models
from service.store import Store, Stored
from service.tables import vectors

_WHERE = {"district": 100, "address": 500}


def today() -> date:
    """The day it is in China: a submission goes by the table of the day it is routed, not of the day it came."""
    return datetime.now(CHINA).date()


def route_items(engine: Engine, items: Sequence[Any]) -> list[dict[str, Any]]:
    """Proposals for raw items ``{"id", "title", "text", "district", "address"}``, in order, ids echoed.

    On the encoder's thread only.
    """
    read: list[tuple[str | int | None, Mapping[str, Any] | InputError]] = [_read(item) for item in items]
    good = [content for _, content in read if not isinstance(content, InputError)]
    answers = iter(engine.analyse([(content.get("title"), content.get("text")) for content in good]))
    done: list[dict[str, Any]] = []
    for identity, content in read:
        answer = content if isinstance(content, InputError) else next(answers)
        if isinstance(content, InputError) or isinstance(answer, InputError):
            done.append(render.failed(identity, answer))  # type: ignore[arg-type]
        else:
            found = propose(engine.models, answer, content.get("district"), content.get("address"))
            done.append({"id": identity, **render.proposal(found)})
    return done


def propose(models: Models, found: Analysed, district: str | None, address: str | None) -> Proposal:
    """The proposal for a text just analysed, with its own district and address."""
    where = place_of(models.analyser, district, address)
    return models.router.propose(found.document, found.encoding.vector, found.classification.matters, today(), where)


def propose_stored(models: Models, store: Store, item: Stored) -> Proposal:
    """The proposal for a stored submission by its stored analysis and vector: nothing is encoded.

    Where people decided the matter, it goes by that.
    """
    submission = item.submission
    document = models.analyser(submission.text, submission.title)
    scores = (item.analysis or {}).get("matters", [])
    decided = [MatterScore(item.matter, item.theme or "", 1.0)] if item.matter else []
    matters = decided or [MatterScore(**score) for score in scores]
    where = place_of(models.analyser, submission.district, submission.address)
    vector = _vector(store, models.encoder.encoder_id, item.id) if models.router.history else None
    return models.router.propose(document, vector, matters, today(), where)


def place_of(analyser: Analyser, district: str | None, address: str | None) -> Document | None:
    """District and address read as a document, for the places in them."""
    told = " ".join(part.strip() for part in (district, address) if part and part.strip())
    return analyser(told) if told else None


def unit_rows(models: Models) -> list[dict[str, Any]]:
    """The units in force today, as plain data."""
    return [_unit(unit) for unit in models.router.at(today()).units]


def _unit(unit: Unit) -> dict[str, Any]:
    plain = asdict(unit) | {"aliases": list(unit.aliases), "valid_from": unit.valid_from.isoformat()}
    return plain | {"valid_to": unit.valid_to.isoformat() if unit.valid_to else None}


def _read(item: Any) -> tuple[str | int | None, Mapping[str, Any] | InputError]:
    identity, content = checked(item)
    if isinstance(content, InputError):
        return identity, content
    try:
        for name, limit in _WHERE.items():
            validate(content.get(name), name, limit, required=False)
    except InputError as error:
        return identity, error
    return identity, content


def _vector(store: Store, encoder_id: str, number: int) -> FloatArray | None:
    """The stored base vector float32 (d,) of a submission; None where it has none of this encoder."""
    query = sa.select(vectors.c.vector).where(
        store.mine(vectors), vectors.c.submission_id == number, vectors.c.encoder_id == encoder_id
    )
    with store.reading() as connection:
        found: FloatArray | None = connection.execute(query).scalar()
    return found
