"""How far people kept what the machine proposed, over time and by theme, and what leaves its usual band.

Both are read from the events and analyses that are there; nothing is stored.

A submission counts once, in the month (in China) in which a person first acted on it: routed, split, kept, answered, or
decided its theme. Its theme was kept unless people decided another. Its unit was kept where the one that has it last is
what the machine proposed when it was first routed; where it proposed none, nothing is said of the unit.
"""

from __future__ import annotations

import json
import math
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import numpy as np
import sqlalchemy as sa
from scipy.stats import binomtest

from service.dates import CHINA
from service.store import Store
from service.tables import analyses, events, of_submission, submissions

_JUDGED = ("routed", "split", "kept", "answered")
# A band takes so many months before it, each with so many submissions.
_FEWEST_MONTHS, _MOST_MONTHS, _FEWEST = 3, 12, 20
_DEVIATIONS = 2.0
# Month → a share in [0, 1] of each of its submissions.
Months = dict[str, list[float]]


@dataclass(frozen=True)
class Share:
    """How often people kept what was proposed, and how often not."""

    confirmed: int = 0
    corrected: int = 0

    def plain(self) -> dict[str, Any]:
        """With the share kept in [0, 1] and its 95 % Wilson interval; null where nothing was judged."""
        n = self.confirmed + self.corrected
        found: dict[str, Any] = {"confirmed": self.confirmed, "corrected": self.corrected}
        if not n:
            return found | {"share": None, "low": None, "high": None}
        low, high = binomtest(self.confirmed, n).proportion_ci(method="wilson")
        figures = {"share": self.confirmed / n, "low": float(low), "high": float(high)}
        return found | {name: round(figure, 4) for name, figure in figures.items()}


@dataclass(frozen=True)
class Judgement:
    """What people made of one submission; ``unit_kept`` None where no unit was proposed, or none has it."""

    month: str
    theme: str
    theme_kept: bool
    unit_kept: bool | None


@dataclass(frozen=True)
class Drift:
    """A share in [0, 1], on average over a month's submissions. ``band``: where it usually lies, None while unknown."""

    month: str
    submissions: int
    share: float
    band: tuple[float, float] | None

    @property
    def outside(self) -> bool:
        """Whether it has left its band."""
        return self.band is not None and not self.band[0] <= self.share <= self.band[1]


@dataclass(frozen=True)
class Report:
    """All judgements; by month, ascending, the share of submissions for review, and that of words unknown in them."""

    judgements: tuple[Judgement, ...]
    review: tuple[Drift, ...]
    unknown_words: tuple[Drift, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Agreement by month and theme; ``month`` or ``theme`` None are all of them together."""
        groups: dict[tuple[str | None, str | None], list[Judgement]] = {}
        for one in self.judgements:
            for key in ((None, None), (None, one.theme), (one.month, None), (one.month, one.theme)):
                groups.setdefault(key, []).append(one)
        ordered = sorted(groups, key=lambda key: (key[0] or "", key[1] or ""))
        return [
            {
                "month": month,
                "theme": theme,
                "themes": _share(one.theme_kept for one in groups[month, theme]).plain(),
                "units": _share(one.unit_kept for one in groups[month, theme]).plain(),
            }
            for month, theme in ordered
        ]


class Agreement:
    """The report of one store, made again when something has happened. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._made: tuple[int, Report] | None = None

    def report(self) -> Report:
        """How things stand now."""
        with self._lock:
            stamp = self._store.stamp()
            if self._made is None or self._made[0] != stamp:
                shares = map(drift, _shares(self._store))
                self._made = stamp, Report(tuple(_judgements(self._store)), *map(tuple, shares))
            return self._made[1]


def _share(kept: Iterable[bool | None]) -> Share:
    told = [one for one in kept if one is not None]
    return Share(sum(told), len(told) - sum(told))


def _month(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone(CHINA).strftime("%Y-%m")


def _judgements(store: Store) -> Iterator[Judgement]:
    query = (
        sa.select(events.c.submission_id, events.c.kind, events.c.at, events.c.detail, analyses.c.primary_theme)
        .join(analyses, sa.and_(analyses.c.office_id == events.c.office_id,
                                analyses.c.submission_id == events.c.submission_id))
        .where(store.mine(events), events.c.kind.in_((*_JUDGED, "corrected")))
        .order_by(events.c.submission_id, events.c.id)
    )  # fmt: skip
    with store.reading() as connection:
        rows = connection.execute(query).all()
    for _, group in groupby(rows, key=lambda row: row.submission_id):
        own = list(group)
        found = _judged([(row.kind, row.at, json.loads(row.detail)) for row in own], own[0].primary_theme)
        if found is not None:
            yield found


def _judged(steps: Sequence[tuple[str, str, Mapping[str, Any]]], machine: str) -> Judgement | None:
    """What the steps of one submission, oldest first, say; None where its theme has not been judged yet."""
    themes = [detail for kind, _, detail in steps if kind == "corrected" and "theme" in detail]
    acted = [at for kind, at, detail in steps if kind in _JUDGED or "theme" in detail]
    if not acted:
        return None
    # What the machine said then stands in the first correction; it may have changed its mind since.
    said = themes[0]["before"]["theme"] if themes else machine
    kept = not themes or themes[-1]["theme"] == said
    routed = [detail for kind, _, detail in steps if kind == "routed"]
    proposed = routed[0].get("proposed") if routed else None
    return Judgement(_month(acted[0]), said, kept, routed[-1]["unit"] == proposed if proposed else None)


def _shares(store: Store) -> tuple[Months, Months]:
    """Of what was received in each month (stored, where that is not known): whether for review, and unknown words."""
    moment = sa.func.coalesce(submissions.c.received_at, submissions.c.stored_at)
    query = sa.select(moment, analyses.c.decision, analyses.c.unknown_words)
    query = query.join_from(submissions, analyses, of_submission(analyses)).where(store.present())
    review: Months = defaultdict(list)
    unknown: Months = defaultdict(list)
    with store.reading() as connection:
        for at, decision, words in connection.execute(query):
            month = _month(at)
            review[month].append(decision == "review")
            if words is not None:  # analysed before this was counted, or nothing said
                unknown[month].append(words)
    return review, unknown


def drift(months: Months) -> Iterator[Drift]:
    """Each month, ascending, against the band of those before it: their mean and two standard deviations.

    The deviation is that between the months, and that of chance in as many submissions as the month has.
    """
    before: list[list[float]] = []
    for month, shares in sorted(months.items()):
        known = [one for one in before if len(one) >= _FEWEST][-_MOST_MONTHS:]
        band = None
        if len(known) >= _FEWEST_MONTHS and len(shares) >= _FEWEST:
            together = np.concatenate(known)
            mean = float(together.mean())
            between = float(np.var([np.mean(one) for one in known], ddof=1))
            width = _DEVIATIONS * math.sqrt(between + float(together.var()) / len(shares))
            band = max(0.0, mean - width), min(1.0, mean + width)
        yield Drift(month, len(shares), float(np.mean(shares)), band)
        before.append(shares)
