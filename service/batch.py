"""Batches of raw items, the same for command line and HTTP: a bad item fails alone, with its id and field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nlp.errors import InputError
from nlp.normalise import validate
from service import render
from service.engine import Engine
from service.search import Filters
from service.store import Store


def classify_items(engine: Engine, items: list[Any]) -> list[dict[str, Any]]:
    """Answers for raw items, in order, ids echoed; on the encoder's thread only."""
    identities: list[str | int | None] = []
    pairs: list[tuple[object, object] | InputError] = []
    for item in items:
        identity, content = checked(item)
        identities.append(identity)
        pairs.append(content if isinstance(content, InputError) else (content.get("title"), content.get("text")))
    answers = iter(engine.analyse([pair for pair in pairs if not isinstance(pair, InputError)]))
    done = [pair if isinstance(pair, InputError) else next(answers) for pair in pairs]
    return [
        render.failed(identity, answer) if isinstance(answer, InputError) else {"id": identity, **render.answer(answer)}
        for identity, answer in zip(identities, done, strict=True)
    ]


def compare_items(engine: Engine, items: Sequence[Any]) -> list[dict[str, Any]]:
    """Grades of raw pairs ``{"id", "a", "b"}``, in order, ids echoed; on the encoder's thread only."""
    answers = []
    for item in items:
        identity, content = checked(item)
        try:
            if isinstance(content, InputError):
                raise content
            texts = [validate(content.get(side), side, engine.models.analyser.max_chars) for side in ("a", "b")]
            a, b = (engine.models.pairs.profile(*read) for read in engine.read([("", text) for text in texts]))
            answers.append({"id": identity, **render.comparison(engine.models.pairs.compare(a, b, "compare"))})
        except InputError as error:
            answers.append(render.failed(identity, error))
    return answers


def similar_items(
    engine: Engine, store: Store, query: tuple[object, object], limit: int, filters: Filters
) -> list[dict[str, Any]]:
    """What is stored like (title, text), as far as it passes; raises InputError. On the encoder's thread only."""
    [found] = engine.analyse([query])
    if isinstance(found, InputError):
        raise found
    return [render.similar(item) for item in engine.similar(store, found.document, found.encoding, limit, filters)]


def checked(item: Any, known: tuple[str, ...] | None = None) -> tuple[str | int | None, dict[str, Any] | InputError]:
    """The item's id and its content, or what is wrong with it; only ``known`` members, where given."""
    if not isinstance(item, dict):
        return None, InputError("invalid_type", "item", f"应为对象，实为 {type(item).__name__}")
    try:
        identity = render.item_id(item.get("id"))
    except InputError as error:
        return None, error
    unknown = sorted(str(key)[:40] for key in set(item) - {"id", *known}) if known is not None else []
    if unknown and known is not None:
        named = "、".join(unknown).encode("utf-8", "replace").decode()
        return identity, InputError("unknown_field", "item", f"不认识的字段：{named}；应为 id、{'、'.join(known)}")
    return identity, item
