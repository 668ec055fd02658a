"""Topics, candidates, checks and statistics as plain data. Field names are the published contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nlp.trends import Trend
from service import render
from service.candidates import Candidate, Gap, Selection
from service.statistics import Period, Statistics
from service.store import Store
from service.topic_checks import Check
from service.topic_views import Match, TopicsView, TopicView

# The verdicts as officials say them.
VERDICTS = {"rising": "上升", "steady": "平稳", "falling": "下降", "too_few": "样本不足"}


def topics(found: TopicsView, store: Store) -> dict[str, Any]:
    """All topics as of a day."""
    shown = [number for view in found.topics for number in view.representatives]
    briefs = {item.id: render.brief(item) for item in store.get_many(sorted(set(shown)))}
    return {
        "as_of": found.as_of,
        "coverage": asdict(found.coverage),
        "topics": [topic(view, briefs) for view in found.topics],
        "notes": list(found.notes),
    }


def topic(view: TopicView, briefs: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """One topic; its representatives with personal data starred out."""
    return {
        "id": view.id,
        "name": view.name,
        "level": view.level,
        "parent": view.parent,
        "size": view.size,
        "submissions": list(view.external_ids),
        "numbers": list(view.members),
        "machine_name": view.machine_name,
        "state": view.state,
        "merged_into": view.merged_into,
        "pinned": view.pinned,
        "distinct": view.distinct,
        "voices": view.voices,
        "recent": view.recent,
        "before": view.before,
        "window_days": view.window_days,
        "trend": _trend(view.trend),
        "months": [{"until": until, "voices": voices} for until, voices in view.months],
        "districts": dict(view.districts),
        "districts_by_text": view.by_text,
        "themes": dict(view.themes),
        "representatives": [briefs[number] for number in view.representatives if number in briefs],
    }


def _trend(trend: Trend) -> dict[str, Any]:
    return {**{key: _rounded(value) for key, value in asdict(trend).items()}, "label": VERDICTS[trend.verdict]}


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def selection(found: Selection) -> dict[str, Any]:
    """The candidates with every part of their score, what was studied before, and gaps."""
    return {
        "as_of": found.as_of,
        "candidates": [_candidate(one) for one in found.candidates],
        "studied": [_candidate(one) for one in found.studied],
        "gaps": [_gap(gap) for gap in found.gaps],
        "notes": list(found.notes),
    }


def _candidate(one: Candidate) -> dict[str, Any]:
    view = one.topic
    return {
        "topic": view.id,
        "name": view.name,
        "score": round(one.score, 6),
        "reason": one.reason,
        "rising": view.trend.verdict == "rising",
        "parts": [{key: _rounded(value) for key, value in asdict(part).items()} for part in one.parts],
        "voices": view.voices,
        "size": view.size,
        "districts": dict(view.districts),
        "submissions": list(view.external_ids),
        "numbers": list(view.members),
        "studied": [_match(match) for match in one.studied],
        "priorities": [_match(match) for match in one.priorities],
    }


def _match(match: Match) -> dict[str, Any]:
    work = match.work
    return {"title": work.title, "year": work.year, "status": work.status, "score": round(match.score, 6)}


def _gap(gap: Gap) -> dict[str, Any]:
    return {**asdict(gap), "expected": round(gap.expected, 1)}


def check(found: Check) -> dict[str, Any]:
    """What there is about a text."""
    near = [
        {"topic": one.topic.id, "name": one.topic.name, "score": round(one.score, 6), "voices": one.topic.voices,
         "size": one.topic.size, "trend": _trend(one.topic.trend)}
        for one in found.topics
    ]  # fmt: skip
    return {
        "verdict": found.verdict,
        "topics": near,
        "studied": [_match(match) for match in found.studied],
        "priorities": [_match(match) for match in found.priorities],
        "similar": [{k: v for k, v in render.similar(one).items() if k != "text"} for one in found.similar],
    }


def statistics(found: Statistics) -> dict[str, Any]:
    """The figures of a period, with the two it is compared with."""
    periods = {"period": found.period, "before": found.period.before(), "year_before": found.period.year_before()}
    figures = {"period": found.now, "before": found.before, "year_before": found.year_before}
    return {
        "as_of": found.as_of.isoformat(timespec="seconds"),
        **{name: {**_period(span), **asdict(figures[name])} for name, span in periods.items()},
        "change": {
            name: _change(found.now.submissions, figures[name].submissions) for name in ("before", "year_before")
        },
        "undated": found.undated,
        "tables": {name: asdict(table) for name, table in found.tables.items()},
        "adoption": dict(found.adoption),
        "satisfaction": dict(found.satisfaction),
        "sectors": {name: asdict(totals) for name, totals in found.sectors.items()},
        "notes": list(found.notes),
    }


def _period(period: Period) -> dict[str, str]:
    return {"from": period.first.isoformat(), "to": period.last.isoformat()}


def _change(now: int, then: int) -> float | None:
    """Growth over the other period; None where that has nothing to grow from."""
    return round(now / then - 1, 6) if then else None
