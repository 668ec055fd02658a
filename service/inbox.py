"""The inbox: what waits for a person, the most doubtful first."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from service.lifecycle import Due, Lifecycle
from service.search import in_district
from service.standings import STATE
from service.tables import analyses, of_submission, standings, submissions

# The answer is stored as JSON with these separators, in which a quote within a text is escaped: nothing else matches.
_URGENT = analyses.c.result.like('%"urgent": {%')
_JOINED = submissions.outerjoin(analyses, of_submission(analyses)).outerjoin(standings, of_submission(standings))


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
    """Numbers of at most ``limit`` submissions, and how many there are.

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
    nearest = (standings.c.due,) if asked.due else ()
    order = (*nearest, sa.case((_URGENT, 0), else_=1), judged, analyses.c.confidence, submissions.c.id)
    everything = sa.select(submissions.c.id).select_from(_JOINED).where(lifecycle.store.present(), *conditions)
    with lifecycle.store.reading() as connection:
        numbers = connection.execute(everything.order_by(*order)).scalars().all()
    return list(numbers[:limit]), len(numbers)


def tally(lifecycle: Lifecycle) -> dict[str, int]:
    """State → how many submissions stand in it, with those due soon (临期) and overdue (超期)."""
    by_state = sa.select(STATE, sa.func.count()).select_from(_JOINED).where(lifecycle.store.present()).group_by(STATE)
    with lifecycle.store.reading() as connection:
        found = {str(state): int(n) for state, n in connection.execute(by_state)}
    dues: tuple[tuple[str, Due], ...] = (("临期", "soon"), ("超期", "over"))
    return found | {name: doubtful_first(lifecycle, Asked(due=due), 0)[1] for name, due in dues}
