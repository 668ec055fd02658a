"""The inbox: what waits for a person, the most doubtful first."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from service.lifecycle import Due, Lifecycle
from service.search import in_district
from service.standings import STATE, of_submission
from service.tables import analyses, standings, submissions

# The answer is stored as JSON with these separators, in which a quote within a text is escaped: nothing else matches.
_URGENT = analyses.c.result.like('%"urgent": {%')
_ANALYSED = sa.and_(analyses.c.office_id == submissions.c.office_id, analyses.c.submission_id == submissions.c.id)


@dataclass(frozen=True)
class Asked:
    """Which submissions are wanted; None and False ask nothing. ``unit``: the lead; ``theme``: as people decided it."""

    state: str | None = None
    unit: str | None = None
    due: Due | None = None
    theme: str | None = None
    district: str | None = None
    urgent: bool = False


def doubtful_first(lifecycle: Lifecycle, asked: Asked, limit: int) -> tuple[list[int], int]:
    """Numbers of at most ``limit`` submissions, and how many there are; raises CalendarEnds.

    Urgent ones first, then those for review, the least sure first; what people have judged comes last. Where ``due`` is
    asked, the nearest time limit comes first.
    """
    conditions = lifecycle.conditions(state=asked.state, unit=asked.unit, due=asked.due)
    if asked.theme is not None:
        conditions.append(sa.func.coalesce(standings.c.theme, analyses.c.primary_theme) == asked.theme)
    if asked.district is not None:
        conditions.append(in_district(asked.district))
    if asked.urgent:
        conditions.append(_URGENT)
    judged = sa.case((standings.c.theme.is_not(None), 2), (analyses.c.decision == "review", 0), else_=1)
    order = (sa.case((_URGENT, 0), else_=1), judged, analyses.c.confidence, submissions.c.id)
    query = _from(lifecycle, submissions.c.id).where(*conditions)
    with lifecycle.store.reading() as connection:
        total = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
        query = query.order_by(*((standings.c.due,) if asked.due else ()), *order).limit(limit)
        return list(connection.execute(query).scalars()), int(total)


def tally(lifecycle: Lifecycle) -> dict[str, int]:
    """State → how many submissions stand in it, with those due soon (临期) and overdue (超期); raises CalendarEnds."""
    with lifecycle.store.reading() as connection:
        query = _from(lifecycle, STATE, sa.func.count()).group_by(STATE)
        found = {state: int(n) for state, n in connection.execute(query)}
        for name, due in (("临期", "soon"), ("超期", "over")):
            running = _from(lifecycle, sa.func.count()).where(*lifecycle.conditions(due=due))  # type: ignore[arg-type]
            found[name] = int(connection.execute(running).scalar_one())
    return found


def _from(lifecycle: Lifecycle, *columns: sa.ColumnElement[object]) -> sa.Select[tuple[object, ...]]:
    """A query over this office's submissions with their analyses and standings."""
    joined = submissions.outerjoin(analyses, _ANALYSED).outerjoin(standings, of_submission())
    return sa.select(*columns).select_from(joined).where(lifecycle.store.mine(submissions))
